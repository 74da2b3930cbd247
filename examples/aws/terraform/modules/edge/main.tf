# What clients meet first: the name, the certificate, CloudFront with the page
# and the API behind one origin, so that the page needs no CORS, and WAF.

data "aws_region" "here" {}

locals {
  max_body_bytes = 8192 # MaxBodyBytes of the API

  # What goes to the REST API; everything else is the page.
  api_paths = ["/orders", "/orders/*", "/fills", "/balances", "/products", "/products/*", "/time", "/health", "/openapi.yaml"]

  types = {
    html = "text/html; charset=utf-8", css = "text/css; charset=utf-8", js = "text/javascript; charset=utf-8", svg = "image/svg+xml"
  }
  page_files = fileset(var.page_files, "**")
}

# --- name and certificate ---

resource "aws_route53_zone" "this" {
  name = var.domain
}

resource "aws_acm_certificate" "this" {
  provider          = aws.us_east_1
  domain_name       = var.domain
  validation_method = "DNS"
  lifecycle {
    create_before_destroy = true
  }
}

locals {
  proof = one(aws_acm_certificate.this.domain_validation_options) # of the one name it is for
}

resource "aws_route53_record" "certificate" {
  zone_id = aws_route53_zone.this.zone_id
  name    = local.proof.resource_record_name
  type    = local.proof.resource_record_type
  records = [local.proof.resource_record_value]
  ttl     = 300
}

resource "aws_acm_certificate_validation" "this" {
  provider                = aws.us_east_1
  certificate_arn         = aws_acm_certificate.this.arn
  validation_record_fqdns = [aws_route53_record.certificate.fqdn]
}

resource "aws_route53_record" "venue" {
  for_each = toset(["A", "AAAA"])
  zone_id  = aws_route53_zone.this.zone_id
  name     = var.domain
  type     = each.key
  alias {
    name                   = aws_cloudfront_distribution.this.domain_name
    zone_id                = aws_cloudfront_distribution.this.hosted_zone_id
    evaluate_target_health = false
  }
}

resource "aws_route53_health_check" "api" {
  fqdn              = var.domain
  type              = "HTTPS"
  port              = 443
  resource_path     = "/health"
  request_interval  = 30
  failure_threshold = 3
  measure_latency   = true
  enable_sni        = true
  tags              = { Name = "${var.name}-api" }
}

# --- the page ---

resource "aws_s3_bucket" "page" {
  bucket_prefix = "${var.name}-page-"
  force_destroy = !var.protect
}

resource "aws_s3_bucket_public_access_block" "page" {
  bucket                  = aws_s3_bucket.page.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "page" {
  bucket = aws_s3_bucket.page.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_versioning" "page" {
  bucket = aws_s3_bucket.page.id
  versioning_configuration {
    status = "Enabled"
  }
}

# The page is public; a key of our own would only make CloudFront ask KMS.
resource "aws_s3_bucket_server_side_encryption_configuration" "page" {
  bucket = aws_s3_bucket.page.id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "page" {
  bucket = aws_s3_bucket.page.id
  rule {
    id     = "old versions"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration {
      noncurrent_days = 90
    }
  }
  depends_on = [aws_s3_bucket_versioning.page]
}

resource "aws_s3_object" "page" {
  for_each      = local.page_files
  bucket        = aws_s3_bucket.page.id
  key           = each.key
  source        = "${var.page_files}/${each.key}"
  source_hash   = filemd5("${var.page_files}/${each.key}")
  content_type  = lookup(local.types, reverse(split(".", each.key))[0], "application/octet-stream")
  cache_control = "no-cache"
}

data "aws_iam_policy_document" "page" {
  statement {
    sid       = "CloudFrontOnly"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.page.arn}/*"]
    principals {
      type        = "Service"
      identifiers = ["cloudfront.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceArn"
      values   = [aws_cloudfront_distribution.this.arn]
    }
  }
  statement {
    sid       = "TLSOnly"
    effect    = "Deny"
    actions   = ["s3:GetObject", "s3:ListBucket", "s3:PutObject"]
    resources = [aws_s3_bucket.page.arn, "${aws_s3_bucket.page.arn}/*"]
    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "page" {
  bucket     = aws_s3_bucket.page.id
  policy     = data.aws_iam_policy_document.page.json
  depends_on = [aws_s3_bucket_public_access_block.page]
}

# --- CloudFront ---

resource "aws_cloudfront_origin_access_control" "page" {
  name                              = "${var.name}-page"
  origin_access_control_origin_type = "s3"
  signing_behavior                  = "always"
  signing_protocol                  = "sigv4"
}

resource "aws_cloudfront_response_headers_policy" "page" {
  name = "${var.name}-page"

  security_headers_config {
    content_security_policy {
      content_security_policy = var.page_policy
      override                = true
    }
    content_type_options {
      override = true
    }
    frame_options {
      frame_option = "DENY"
      override     = true
    }
    referrer_policy {
      referrer_policy = "no-referrer"
      override        = true
    }
    strict_transport_security {
      access_control_max_age_sec = 63072000
      include_subdomains         = true
      preload                    = true
      override                   = true
    }
  }

  custom_headers_config {
    items {
      header   = "Cross-Origin-Opener-Policy"
      value    = "same-origin"
      override = true
    }
  }
}

data "aws_cloudfront_cache_policy" "optimized" {
  name = "Managed-CachingOptimized"
}

data "aws_cloudfront_cache_policy" "disabled" {
  name = "Managed-CachingDisabled"
}

# All the viewer sent but Host, which API Gateway needs to be its own.
data "aws_cloudfront_origin_request_policy" "api" {
  name = "Managed-AllViewerExceptHostHeader"
}

resource "aws_cloudfront_distribution" "this" {
  enabled             = true
  is_ipv6_enabled     = true
  http_version        = "http2and3"
  comment             = var.name
  aliases             = [var.domain]
  default_root_object = "index.html"
  price_class         = var.price_class
  web_acl_id          = module.waf.arn

  origin {
    origin_id                = "page"
    domain_name              = aws_s3_bucket.page.bucket_regional_domain_name
    origin_access_control_id = aws_cloudfront_origin_access_control.page.id
  }

  origin {
    origin_id   = "rest"
    domain_name = "${var.rest_api.id}.execute-api.${data.aws_region.here.name}.amazonaws.com"
    origin_path = "/${var.rest_api.stage}"
    custom_origin_config {
      http_port              = 80
      https_port             = 443
      origin_protocol_policy = "https-only"
      origin_ssl_protocols   = ["TLSv1.2"]
    }
  }

  # The stage is called ws, so that /ws is the connection itself.
  origin {
    origin_id   = "websocket"
    domain_name = "${var.websocket_api.id}.execute-api.${data.aws_region.here.name}.amazonaws.com"
    custom_origin_config {
      http_port              = 80
      https_port             = 443
      origin_protocol_policy = "https-only"
      origin_ssl_protocols   = ["TLSv1.2"]
    }
  }

  default_cache_behavior {
    target_origin_id           = "page"
    viewer_protocol_policy     = "redirect-to-https"
    allowed_methods            = ["GET", "HEAD"]
    cached_methods             = ["GET", "HEAD"]
    compress                   = true
    cache_policy_id            = data.aws_cloudfront_cache_policy.optimized.id
    response_headers_policy_id = aws_cloudfront_response_headers_policy.page.id
  }

  dynamic "ordered_cache_behavior" {
    for_each = local.api_paths
    content {
      path_pattern               = ordered_cache_behavior.value
      target_origin_id           = "rest"
      viewer_protocol_policy     = "https-only"
      allowed_methods            = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
      cached_methods             = ["GET", "HEAD"]
      compress                   = true
      cache_policy_id            = data.aws_cloudfront_cache_policy.disabled.id
      origin_request_policy_id   = data.aws_cloudfront_origin_request_policy.api.id
      response_headers_policy_id = aws_cloudfront_response_headers_policy.page.id
    }
  }

  ordered_cache_behavior {
    path_pattern             = "/ws"
    target_origin_id         = "websocket"
    viewer_protocol_policy   = "https-only"
    allowed_methods          = ["GET", "HEAD"]
    cached_methods           = ["GET", "HEAD"]
    cache_policy_id          = data.aws_cloudfront_cache_policy.disabled.id
    origin_request_policy_id = data.aws_cloudfront_origin_request_policy.api.id
  }

  restrictions {
    geo_restriction {
      restriction_type = "none"
    }
  }

  viewer_certificate {
    acm_certificate_arn      = aws_acm_certificate_validation.this.certificate_arn
    ssl_support_method       = "sni-only"
    minimum_protocol_version = "TLSv1.2_2021"
  }
}

# --- WAF: at the edge, and on the API itself, whose address is public too ---

module "waf" {
  source                 = "./waf"
  providers              = { aws = aws.us_east_1 }
  name                   = var.name
  scope                  = "CLOUDFRONT"
  behind_cloudfront      = false
  requests_per_5_minutes = var.requests_per_5_minutes
  health_path            = "/health"
  body_bytes             = local.max_body_bytes
  allowed_ips            = var.allowed_ips
  blocked_ips            = var.blocked_ips
}

module "waf_api" {
  source                 = "./waf"
  name                   = "${var.name}-api"
  scope                  = "REGIONAL"
  behind_cloudfront      = true
  requests_per_5_minutes = var.requests_per_5_minutes
  health_path            = "/${var.rest_api.stage}/health"
  body_bytes             = local.max_body_bytes
  allowed_ips            = var.allowed_ips
  blocked_ips            = var.blocked_ips
}

resource "aws_wafv2_web_acl_association" "api" {
  resource_arn = var.rest_api.stage_arn
  web_acl_arn  = module.waf_api.arn
}
