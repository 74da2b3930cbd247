variable "name" {
  description = "Prefix of every resource's name: lower-case letters, digits and hyphens, 3 to 20 characters."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name)) && !strcontains(var.name, "--") # RDS and ElastiCache take no two hyphens in a row
    error_message = "name is 3 to 20 lower-case letters, digits and single hyphens, and begins with a letter."
  }
}

variable "domain" {
  description = "Domain of the venue, such as trade.example.com."
  type        = string
  validation {
    condition     = can(regex("^([a-z0-9-]{1,63}\\.)+[a-z]{2,63}$", var.domain))
    error_message = "domain is a domain name in lower case, such as trade.example.com."
  }
}

variable "zones" {
  description = "Availability zones to spread over, 2 to 6 of the provider's region."
  type        = list(string)
  validation {
    condition     = length(var.zones) >= 2 && length(var.zones) <= 6 && length(distinct(var.zones)) == length(var.zones)
    error_message = "zones lists 2 to 6 different availability zones."
  }
}

variable "cidr" {
  description = "Addresses of the VPC, a /16 to /20."
  type        = string
  default     = "10.20.0.0/16"
}

variable "zips" {
  description = "Directory with the functions' zips, as make lambda leaves them."
  type        = string
}

variable "compute" {
  description = "What runs the services: lambda, or eks. The ports are the same, so it may be changed in place; RUNBOOK.md says how."
  type        = string
  default     = "lambda"
  validation {
    condition     = contains(["lambda", "eks"], var.compute)
    error_message = "compute is lambda or eks."
  }
}

variable "shards" {
  description = "Command queues, topics and consumer queues of each kind, up to 64; up to 20 with functions, whose environment holds 4 KB of addresses. An instrument belongs to one by its id."
  type        = number
  default     = 1
  validation {
    condition     = var.shards <= (var.compute == "lambda" ? 20 : 64)
    error_message = "shards is at most 20 with compute = lambda and 64 with eks: more addresses do not fit what a function, or a service, is told."
  }
}

variable "concurrency" {
  description = "How many batches the order processor and push take from their queues at once."
  type        = number
  default     = 10
  validation {
    condition     = var.concurrency >= 2 && var.concurrency <= 1000
    error_message = "concurrency is 2 to 1000."
  }
}

variable "provisioned" {
  description = "Environments kept warm, by function; those not named have none."
  type        = map(number)
  default     = {}
  validation {
    condition     = alltrue([for n in values(var.provisioned) : n >= 1 && floor(n) == n])
    error_message = "provisioned has whole numbers of at least 1."
  }
}

variable "reserved" {
  description = "Most concurrent executions, by function; those not named share the account's."
  type        = map(number)
  default     = {}
  validation {
    condition     = alltrue([for n in values(var.reserved) : n >= 1 && floor(n) == n])
    error_message = "reserved has whole numbers of at least 1."
  }
}

variable "cache" {
  description = "ElastiCache: node type, shards, replicas of each."
  type        = object({ node_type = string, shards = optional(number, 1), replicas = optional(number, 1) })
  default     = { node_type = "cache.t4g.small" }
}

variable "aurora" {
  description = "Aurora: clusters that accounts are spread over, readers of each, capacity units each instance scales between."
  type        = object({ clusters = optional(number, 1), readers = optional(number, 1), min = optional(number, 0.5), max = optional(number, 8) })
  default     = {}
}

variable "dynamodb" {
  description = "null: on demand; otherwise provisioned and scaled, between least and most units."
  type        = object({ read_min = number, read_max = number, write_min = number, write_max = number, target = optional(number, 60) })
  default     = null
}

variable "throttle" {
  description = "Requests a second and burst of the REST API, and messages a second and burst of the WebSocket API."
  type        = object({ rate = number, burst = number, websocket_rate = number, websocket_burst = number })
  default     = { rate = 1000, burst = 2000, websocket_rate = 1000, websocket_burst = 2000 }
}

variable "cache_gb" {
  description = "Size of the REST API's cache in GB; 0: none."
  type        = number
  default     = 0
}

variable "partners" {
  description = "Names of partners who get an API key. With api_key_required their requests are counted by it, against the usage plan."
  type        = set(string)
  default     = []
}

variable "api_key_required" {
  description = "Whether what needs a token needs a partner's API key (x-api-key) as well: API Gateway's usage plans hold for nothing else. The page sends none: it then shows what is public."
  type        = bool
  default     = false
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

variable "archive_lock_days" {
  description = "null, or how many days nobody can delete or overwrite an archive object."
  type        = number
  default     = null
}

variable "protect" {
  description = "Protect what cannot be made again from being deleted."
  type        = bool
  default     = true
}

variable "log_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 30
}

variable "emails" {
  description = "Who is told of alarms."
  type        = set(string)
}

variable "sweep_minutes" {
  description = "Minutes between passes of the sweeper."
  type        = number
  default     = 1
  validation {
    condition     = var.sweep_minutes >= 1 && var.sweep_minutes <= 60 && floor(var.sweep_minutes) == var.sweep_minutes
    error_message = "sweep_minutes is a whole number from 1 to 60."
  }
}

variable "token_public_key" {
  description = "Ed25519 key that tokens are checked with, base64. It is no secret; the private key stays with who issues tokens."
  type        = string
  validation {
    condition     = can(regex("^[A-Za-z0-9+/]{43}=$", var.token_public_key))
    error_message = "token_public_key is 32 bytes in base64, 44 characters that end in =."
  }
}

variable "day_end" {
  description = "When a trading day ends, a duration after 00:00 UTC below 24h, such as 21h30m."
  type        = string
  default     = "0s"
  validation {
    condition     = can(regex("^([0-9]+h)?([0-9]+m)?([0-9]+s)?$", var.day_end)) && var.day_end != ""
    error_message = "day_end is a duration such as 0s or 21h30m."
  }
}

variable "eks" {
  description = "The cluster, when compute is eks: who reaches its API from outside, the roles that administer it, its node groups."
  type = object({
    public_cidrs = optional(set(string), [])
    admins       = optional(set(string), [])
    nodes = optional(map(object({ types = list(string), min = number, max = number })), {
      engines  = { types = ["c7g.large"], min = 3, max = 30 }
      services = { types = ["c7g.large", "m7g.large"], min = 3, max = 60 }
    })
  })
  default = {}
}
