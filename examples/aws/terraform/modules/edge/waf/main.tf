# A web ACL: who may call at all, how often, how large, and what is known to be
# an attack.

resource "aws_wafv2_ip_set" "this" {
  for_each           = { allowed = var.allowed_ips, blocked = var.blocked_ips }
  name               = "${var.name}-${each.key}"
  scope              = var.scope
  ip_address_version = "IPV4"
  addresses          = each.value
}

locals {
  managed = { # in the order of their priorities
    AWSManagedRulesAmazonIpReputationList = 10
    AWSManagedRulesCommonRuleSet          = 11
    AWSManagedRulesKnownBadInputsRuleSet  = 12
  }
}

resource "aws_wafv2_web_acl" "this" {
  name  = var.name
  scope = var.scope

  default_action {
    dynamic "allow" {
      for_each = length(var.allowed_ips) == 0 ? [1] : []
      content {}
    }
    dynamic "block" { # with a list of who may, nobody else
      for_each = length(var.allowed_ips) == 0 ? [] : [1]
      content {}
    }
  }

  rule {
    name     = "blocked"
    priority = 0
    action {
      block {}
    }
    statement {
      ip_set_reference_statement {
        arn = aws_wafv2_ip_set.this["blocked"].arn
        dynamic "ip_set_forwarded_ip_config" {
          for_each = var.behind_cloudfront ? [1] : []
          content {
            header_name       = "X-Forwarded-For"
            fallback_behavior = "MATCH"
            position          = "LAST"
          }
        }
      }
    }
    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name                = "blocked"
      sampled_requests_enabled   = true
    }
  }

  rule {
    name     = "size"
    priority = 1
    action {
      block {}
    }
    statement {
      size_constraint_statement {
        comparison_operator = "GT"
        size                = var.body_bytes
        field_to_match {
          body {
            oversize_handling = "MATCH"
          }
        }
        text_transformation {
          priority = 0
          type     = "NONE"
        }
      }
    }
    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name                = "size"
      sampled_requests_enabled   = true
    }
  }

  rule {
    name     = "rate"
    priority = 2
    action {
      block {
        custom_response {
          response_code = 429
        }
      }
    }
    statement {
      rate_based_statement {
        limit                 = var.requests_per_5_minutes
        evaluation_window_sec = 300
        aggregate_key_type    = var.behind_cloudfront ? "FORWARDED_IP" : "IP"
        dynamic "forwarded_ip_config" {
          for_each = var.behind_cloudfront ? [1] : []
          content {
            header_name       = "X-Forwarded-For"
            fallback_behavior = "MATCH"
          }
        }
      }
    }
    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name                = "rate"
      sampled_requests_enabled   = true
    }
  }

  dynamic "rule" {
    for_each = local.managed
    content {
      name     = rule.key
      priority = rule.value
      override_action {
        none {}
      }
      statement {
        managed_rule_group_statement {
          name        = rule.key
          vendor_name = "AWS"
        }
      }
      visibility_config {
        cloudwatch_metrics_enabled = true
        metric_name                = rule.key
        sampled_requests_enabled   = true
      }
    }
  }

  # Whoever looks whether the venue is up, as Route 53 does, is on no list.
  dynamic "rule" {
    for_each = length(var.allowed_ips) == 0 ? [] : [1]
    content {
      name     = "health"
      priority = 89
      action {
        allow {}
      }
      statement {
        byte_match_statement {
          positional_constraint = "EXACTLY"
          search_string         = var.health_path
          field_to_match {
            uri_path {}
          }
          text_transformation {
            priority = 0
            type     = "NONE"
          }
        }
      }
      visibility_config {
        cloudwatch_metrics_enabled = true
        metric_name                = "health"
        sampled_requests_enabled   = true
      }
    }
  }

  # Last, behind everything that blocks: who is on the list may call.
  dynamic "rule" {
    for_each = length(var.allowed_ips) == 0 ? [] : [1]
    content {
      name     = "allowed"
      priority = 90
      action {
        allow {}
      }
      statement {
        ip_set_reference_statement {
          arn = aws_wafv2_ip_set.this["allowed"].arn
          dynamic "ip_set_forwarded_ip_config" {
            for_each = var.behind_cloudfront ? [1] : []
            content {
              header_name       = "X-Forwarded-For"
              fallback_behavior = "NO_MATCH"
              position          = "LAST"
            }
          }
        }
      }
      visibility_config {
        cloudwatch_metrics_enabled = true
        metric_name                = "allowed"
        sampled_requests_enabled   = true
      }
    }
  }

  visibility_config {
    cloudwatch_metrics_enabled = true
    metric_name                = var.name
    sampled_requests_enabled   = true
  }
}

output "arn" {
  description = "The web ACL."
  value       = aws_wafv2_web_acl.this.arn
}
