variable "name" {
  description = "Name of the web ACL."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,40}$", var.name))
    error_message = "name is lower-case letters, digits and hyphens."
  }
}

variable "scope" {
  description = "CLOUDFRONT (made in us-east-1) or REGIONAL."
  type        = string
  validation {
    condition     = contains(["CLOUDFRONT", "REGIONAL"], var.scope)
    error_message = "scope is CLOUDFRONT or REGIONAL."
  }
}

variable "behind_cloudfront" {
  description = "Whether the caller's address is the last one of X-Forwarded-For, which CloudFront has appended."
  type        = bool
}

variable "requests_per_5_minutes" {
  description = "Requests that one address may make in five minutes."
  type        = number
  validation {
    condition     = var.requests_per_5_minutes >= 10 && var.requests_per_5_minutes <= 2000000000
    error_message = "requests_per_5_minutes is 10 to 2000000000."
  }
}

variable "body_bytes" {
  description = "Largest body of a request."
  type        = number
  validation {
    condition     = var.body_bytes >= 1024 && var.body_bytes <= 8192
    error_message = "body_bytes is 1024 to 8192: WAF sees no more than 8192 bytes of a body everywhere."
  }
}

variable "health_path" {
  description = "Path that everybody may ask whether the venue is up, allowed_ips or not."
  type        = string
  validation {
    condition     = startswith(var.health_path, "/")
    error_message = "health_path begins with a slash."
  }
}

variable "allowed_ips" {
  description = "Address ranges that alone may call; empty: everybody."
  type        = set(string)
  validation {
    condition     = alltrue([for ip in var.allowed_ips : can(cidrhost(ip, 0))])
    error_message = "allowed_ips are IPv4 ranges such as 192.0.2.0/24."
  }
}

variable "blocked_ips" {
  description = "Address ranges that may not call."
  type        = set(string)
  validation {
    condition     = alltrue([for ip in var.blocked_ips : can(cidrhost(ip, 0))])
    error_message = "blocked_ips are IPv4 ranges such as 192.0.2.0/24."
  }
}
