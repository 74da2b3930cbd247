variable "name" {
  description = "Prefix of every resource's name."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name is 3 to 20 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts the environment and the logs of the functions."
  type        = string
  validation {
    condition     = can(regex("^arn:[a-z-]+:kms:", var.kms_key_arn))
    error_message = "kms_key_arn is the ARN of a KMS key."
  }
}

variable "zips" {
  description = "Directory with a zip for each function, NAME.zip, as make lambda leaves them."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets."
  type        = list(string)
  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "subnet_ids has at least two subnets."
  }
}

variable "security_group_id" {
  description = "Group of the services."
  type        = string
}

variable "log_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 30
  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_days)
    error_message = "log_days is one of the retentions that CloudWatch Logs has."
  }
}

variable "functions" {
  description = <<-TEXT
    The functions, by name. zip: whose zip it runs, when that has another name. environment: its variables. statements: what its role may do besides logs, traces and the
    network. private: whether it stands in the private subnets. timeout in seconds, memory in MiB. reserved: most
    concurrent executions, null: no bound of its own. provisioned: environments kept warm. queues: queues that invoke
    it, each with how many messages at most make a batch and how many batches there are at once (2 to 1000).
  TEXT
  type = map(object({
    zip         = optional(string)
    environment = map(string)
    statements = list(object({
      sid        = string
      actions    = list(string)
      resources  = list(string)
      conditions = optional(list(object({ test = string, variable = string, values = list(string) })), [])
    }))
    private     = optional(bool, true)
    timeout     = optional(number, 30)
    memory      = optional(number, 512)
    reserved    = optional(number)
    provisioned = optional(number, 0)
    queues = optional(map(object({
      arn         = string
      batch       = optional(number, 10)
      concurrency = optional(number, 10)
    })), {})
  }))
  validation {
    condition = alltrue(flatten([for f in values(var.functions) : [
      for s in f.statements : concat([for a in s.actions : !strcontains(a, "*")], [length(s.resources) > 0])
    ]]))
    error_message = "a statement names each action, without a wildcard, and at least one resource."
  }
  validation {
    condition     = alltrue([for f in values(var.functions) : f.timeout >= 1 && f.timeout <= 900 && f.memory >= 128 && f.memory <= 10240])
    error_message = "timeout is 1 to 900 seconds and memory 128 to 10240 MiB."
  }
  validation {
    condition     = alltrue(flatten([for f in values(var.functions) : [for q in values(f.queues) : q.batch >= 1 && q.batch <= 10 && q.concurrency >= 2 && q.concurrency <= 1000]]))
    error_message = "a queue gives batches of 1 to 10, and its concurrency is 2 to 1000."
  }
}
