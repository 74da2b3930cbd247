variable "name" {
  description = "Prefix of every resource's name."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name is 3 to 20 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "domain" {
  description = "Domain of the venue, such as trade.example.com. Its zone is made here; point the parent zone's NS records at it."
  type        = string
  validation {
    condition     = can(regex("^([a-z0-9-]{1,63}\\.)+[a-z]{2,63}$", var.domain))
    error_message = "domain is a domain name in lower case, such as trade.example.com."
  }
}

variable "page_files" {
  description = "Directory of the page's files."
  type        = string
  validation {
    condition     = fileexists("${var.page_files}/index.html")
    error_message = "page_files is a directory with an index.html."
  }
}

variable "page_policy" {
  description = "Content-Security-Policy of the page."
  type        = string
  validation {
    condition     = strcontains(var.page_policy, "default-src 'none'") || strcontains(var.page_policy, "default-src 'self'")
    error_message = "page_policy begins from default-src 'none' or 'self'."
  }
}

variable "rest_api" {
  description = "The REST API: id of its execute-api domain, name and ARN of its stage."
  type        = object({ id = string, stage = string, stage_arn = string })
}

variable "websocket_api" {
  description = "The WebSocket API: id of its execute-api domain. Its stage is called ws, which is the path that the page connects to."
  type        = object({ id = string })
}

variable "requests_per_5_minutes" {
  description = "Requests that one address may make in five minutes."
  type        = number
  default     = 30000
  validation {
    condition     = var.requests_per_5_minutes >= 10 && var.requests_per_5_minutes <= 2000000000
    error_message = "requests_per_5_minutes is 10 to 2000000000."
  }
}

variable "allowed_ips" {
  description = "Address ranges that alone may call; empty: everybody."
  type        = set(string)
  default     = []
}

variable "blocked_ips" {
  description = "Address ranges that may not call."
  type        = set(string)
  default     = []
}

variable "price_class" {
  description = "Which edge locations CloudFront uses: PriceClass_100, PriceClass_200 or PriceClass_All."
  type        = string
  default     = "PriceClass_100"
  validation {
    condition     = contains(["PriceClass_100", "PriceClass_200", "PriceClass_All"], var.price_class)
    error_message = "price_class is PriceClass_100, PriceClass_200 or PriceClass_All."
  }
}

variable "protect" {
  description = "Keep the page's bucket when it is not empty."
  type        = bool
  default     = true
}
