variable "name" {
  description = "Prefix of every resource's name."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name is 3 to 20 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts queues, topics and the bus."
  type        = string
  validation {
    condition     = can(regex("^arn:[a-z-]+:kms:", var.kms_key_arn))
    error_message = "kms_key_arn is the ARN of a KMS key."
  }
}

variable "shards" {
  description = "How many command queues and topics there are. An instrument belongs to one of them, by its id; one per pair is as many as there are pairs. Changing it moves instruments: see the runbook."
  type        = number
  default     = 1
  validation {
    condition     = var.shards >= 1 && var.shards <= 200 && floor(var.shards) == var.shards
    error_message = "shards is a whole number from 1 to 200."
  }
}

variable "consumers" {
  description = "Consumers of committed events, by name, and which messages each gets: null all, otherwise an SNS filter policy over the message attributes."
  type        = map(object({ filter = optional(string) }))
  validation {
    condition     = length(setsubtract(["market-data", "trade-recorder", "settler"], keys(var.consumers))) == 0
    error_message = "consumers has at least market-data, trade-recorder and settler: without one of them trades do not reach clients, the store or the balances."
  }
}

variable "visibility_seconds" {
  description = "How long a received message stays hidden. At least six times the timeout of the function that handles it."
  type        = number
  default     = 180
  validation {
    condition     = var.visibility_seconds >= 30 && var.visibility_seconds <= 43200
    error_message = "visibility_seconds is 30 to 43200."
  }
}

variable "request_age_seconds" {
  description = "How long EventBridge tries to put a request on its queue before it goes to the dead-letter queue. No longer than the span of the dedup window: later it would be refused as stale."
  type        = number
  default     = 900
  validation {
    condition     = var.request_age_seconds >= 60 && var.request_age_seconds <= 86400
    error_message = "request_age_seconds is 60 to 86400."
  }
}

variable "event_archive_days" {
  description = "Days that the bus keeps requests for a replay."
  type        = number
  default     = 14
  validation {
    condition     = var.event_archive_days >= 1
    error_message = "event_archive_days is at least 1."
  }
}

variable "event_source" {
  description = "Source of the requests' events, as the Go code has it."
  type        = string
}

variable "event_detail_type" {
  description = "Detail type of the requests' events, as the Go code has it."
  type        = string
}
