output "url" {
  description = "Where the venue is."
  value       = "https://${var.domain}"
}

output "name_servers" {
  description = "What the parent zone's NS records for the domain must be."
  value       = aws_route53_zone.this.name_servers
}

output "distribution_id" {
  description = "The CloudFront distribution, for invalidations."
  value       = aws_cloudfront_distribution.this.id
}

output "page_bucket" {
  description = "Bucket of the page."
  value       = aws_s3_bucket.page.bucket
}

output "health_check_id" {
  description = "Route 53 health check of the API."
  value       = aws_route53_health_check.api.id
}
