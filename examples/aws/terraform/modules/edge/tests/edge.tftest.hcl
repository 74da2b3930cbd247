mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

mock_provider "aws" {
  alias = "us_east_1"
  mock_resource "aws_acm_certificate" {
    defaults = {
      domain_validation_options = [{ domain_name = "trade.example.com", resource_record_name = "_x.trade.example.com", resource_record_type = "CNAME", resource_record_value = "_y.example.net" }]
    }
  }
}

variables {
  name          = "venue"
  domain        = "trade.example.com"
  page_files    = "../../../../exchange/web/static"
  page_policy   = "default-src 'none'; script-src 'self'"
  rest_api      = { id = "rest", stage = "v1", stage_arn = "arn:aws:apigateway:eu-central-1::/restapis/rest/stages/v1" }
  websocket_api = { id = "ws" }
}

run "one_origin_for_page_and_api" {
  command = plan
  assert {
    condition     = aws_s3_bucket_public_access_block.page.block_public_acls && aws_s3_bucket_public_access_block.page.block_public_policy && aws_s3_bucket_public_access_block.page.ignore_public_acls && aws_s3_bucket_public_access_block.page.restrict_public_buckets
    error_message = "the page's bucket is not public"
  }
  assert {
    condition     = aws_cloudfront_distribution.this.default_cache_behavior[0].viewer_protocol_policy == "redirect-to-https" && alltrue([for b in aws_cloudfront_distribution.this.ordered_cache_behavior : b.viewer_protocol_policy == "https-only"])
    error_message = "nothing goes over plain HTTP"
  }
  assert {
    condition     = aws_cloudfront_distribution.this.viewer_certificate[0].minimum_protocol_version == "TLSv1.2_2021"
    error_message = "TLS 1.2 is the least"
  }
  assert {
    condition     = contains([for b in aws_cloudfront_distribution.this.ordered_cache_behavior : b.path_pattern], "/orders") && contains([for b in aws_cloudfront_distribution.this.ordered_cache_behavior : b.path_pattern], "/ws")
    error_message = "the API and the WebSocket are behind the page's own name"
  }
  assert {
    condition     = length(aws_s3_object.page) >= 3 && aws_s3_object.page["index.html"].content_type == "text/html; charset=utf-8"
    error_message = "the page is there, with its types"
  }
  assert {
    condition     = aws_cloudfront_response_headers_policy.page.security_headers_config[0].frame_options[0].frame_option == "DENY"
    error_message = "security headers are set"
  }
  assert {
    condition     = toset(keys(aws_route53_record.venue)) == toset(["A", "AAAA"]) && aws_route53_health_check.api.resource_path == "/health"
    error_message = "the name leads to CloudFront, and the API is looked at from outside"
  }
}

run "page_without_index_is_refused" {
  command = plan
  variables {
    page_files = "."
  }
  expect_failures = [var.page_files]
}

run "only_some_may_call" {
  command = plan
  module {
    source = "./waf"
  }
  variables {
    scope                  = "REGIONAL"
    behind_cloudfront      = true
    requests_per_5_minutes = 1000
    body_bytes             = 8192
    health_path            = "/v1/health"
    allowed_ips            = ["192.0.2.0/24"]
    blocked_ips            = []
  }
  assert {
    condition     = length(aws_wafv2_web_acl.this.default_action[0].block) == 1 && contains([for r in aws_wafv2_web_acl.this.rule : r.name if try(length(r.action[0].allow), 0) == 1], "allowed")
    error_message = "who is on no list may not call"
  }
  assert {
    condition     = [for r in aws_wafv2_web_acl.this.rule : r.statement[0].byte_match_statement[0].search_string if r.name == "health"] == ["/v1/health"]
    error_message = "Route 53's health check is on no list, and would say that the venue is down"
  }
}
