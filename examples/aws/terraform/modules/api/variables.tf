variable "name" {
  description = "Prefix of every resource's name."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name is 3 to 20 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts the access logs."
  type        = string
  validation {
    condition     = can(regex("^arn:[a-z-]+:kms:", var.kms_key_arn))
    error_message = "kms_key_arn is the ARN of a KMS key."
  }
}

variable "openapi" {
  description = "The OpenAPI 3.0 document of the REST API. Operations come from it, and the schemas that bodies are validated by."
  type        = string
  validation {
    condition     = can(regex("^3\\.0\\.", yamldecode(file(var.openapi)).openapi))
    error_message = "openapi is an OpenAPI 3.0.x document: API Gateway imports no 3.1."
  }
}

variable "functions" {
  description = "The functions behind the APIs: api, authorizer, websocket."
  type = map(object({
    name       = string
    arn        = string
    invoke_arn = string
  }))
  validation {
    condition     = length(setsubtract(["api", "authorizer", "websocket"], keys(var.functions))) == 0
    error_message = "functions has api, authorizer and websocket."
  }
}

variable "bus" {
  description = "Bus that requests are put on."
  type        = object({ name = string, arn = string })
}

variable "event_source" {
  description = "Source of the requests' events, as the Go code has it."
  type        = string
}

variable "event_detail_type" {
  description = "Detail type of the requests' events, as the Go code has it."
  type        = string
}

variable "throttle" {
  description = "Requests a second and burst, of the REST API as a whole and of messages to the WebSocket API."
  type        = object({ rate = number, burst = number, websocket_rate = number, websocket_burst = number })
  default     = { rate = 1000, burst = 2000, websocket_rate = 1000, websocket_burst = 2000 }
  validation {
    condition     = alltrue([for v in values(var.throttle) : v >= 1 && floor(v) == v])
    error_message = "throttle has whole numbers of at least 1."
  }
}

variable "daily_quota" {
  description = "Requests a day of one API key, of partners who are given one."
  type        = number
  default     = 10000000
  validation {
    condition     = var.daily_quota >= 1
    error_message = "daily_quota is at least 1."
  }
}

variable "partners" {
  description = "Names of partners who get an API key. With api_key_required their requests are counted by it, against the usage plan."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for p in var.partners : can(regex("^[a-z0-9-]{1,40}$", p))])
    error_message = "partners are names of 1 to 40 lower-case letters, digits and hyphens."
  }
}

variable "api_key_required" {
  description = "Whether what needs a token needs a partner's API key (x-api-key) as well. The page sends none: it then shows what is public."
  type        = bool
  default     = false
}

variable "cache_gb" {
  description = "Size of the REST API's cache in GB, for what everybody sees (products, books, trades, candles); 0: none."
  type        = number
  default     = 0
  validation {
    condition     = contains([0, 0.5, 1.6, 6.1, 13.5, 28.4, 58.2, 118, 237], var.cache_gb)
    error_message = "cache_gb is 0 or one of the sizes API Gateway has: 0.5, 1.6, 6.1, 13.5, 28.4, 58.2, 118, 237."
  }
}

variable "log_days" {
  description = "Days that access logs are kept."
  type        = number
  default     = 30
  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_days)
    error_message = "log_days is one of the retentions that CloudWatch Logs has."
  }
}
