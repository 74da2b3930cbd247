variable "name" {
  description = "Prefix of every resource's name."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name is 3 to 20 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts the topic of the alarms."
  type        = string
  validation {
    condition     = can(regex("^arn:[a-z-]+:kms:", var.kms_key_arn))
    error_message = "kms_key_arn is the ARN of a KMS key."
  }
}

variable "namespace" {
  description = "CloudWatch namespace of the services' own metrics, as the Go code has it."
  type        = string
}

variable "emails" {
  description = "Who is told of alarms."
  type        = set(string)
  validation {
    condition     = alltrue([for e in var.emails : can(regex("^[^@ ]+@[^@ ]+$", e))])
    error_message = "emails are addresses such as desk@example.com."
  }
}

variable "functions" {
  description = "Names of the functions and of their log groups, by what they are; empty where the services run on EKS."
  type        = map(object({ name = string, log_group = string }))
}

variable "log_groups" {
  description = "Further log groups that errors are counted in, by what they are: of the services on EKS."
  type        = map(string)
  default     = {}
}

variable "queues" {
  description = "Names of the queues whose oldest message must not get old, by what they are."
  type        = map(string)
}

variable "dead_queues" {
  description = "Names of the dead-letter queues."
  type        = list(string)
}

variable "tables" {
  description = "Names of the DynamoDB tables, by what they are."
  type        = map(string)
}

variable "aurora_cluster_ids" {
  description = "Aurora clusters."
  type        = list(string)
}

variable "cache_nodes" {
  description = "ElastiCache nodes."
  type        = list(string)
}

variable "rest_api" {
  description = "Name and stage of the REST API."
  type        = object({ name = string, stage = string })
}

variable "websocket_api" {
  description = "Id and stage of the WebSocket API."
  type        = object({ id = string, stage = string })
}

variable "health_check_id" {
  description = "Route 53 health check of the API."
  type        = string
}

variable "latency_ms" {
  description = "p99 above which an alarm is raised: of a request at the API, until it is durable, until its trades are pushed."
  type        = number
  default     = 100
  validation {
    condition     = var.latency_ms >= 1 && var.latency_ms <= 60000
    error_message = "latency_ms is 1 to 60000."
  }
}

variable "utilisation_percent" {
  description = "Aurora CPU and ElastiCache memory above which an alarm is raised."
  type        = number
  default     = 80
  validation {
    condition     = var.utilisation_percent >= 1 && var.utilisation_percent <= 100
    error_message = "utilisation_percent is 1 to 100."
  }
}

variable "message_age_seconds" {
  description = "Age of a queue's oldest message above which an alarm is raised."
  type        = number
  default     = 30
  validation {
    condition     = var.message_age_seconds >= 1
    error_message = "message_age_seconds is at least 1."
  }
}

variable "error_percent" {
  description = "Errors or throttles per hundred invocations above which an alarm is raised."
  type        = number
  default     = 1
  validation {
    condition     = var.error_percent > 0 && var.error_percent <= 100
    error_message = "error_percent is above 0 and at most 100."
  }
}
