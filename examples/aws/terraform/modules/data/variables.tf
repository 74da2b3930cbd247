variable "name" {
  description = "Prefix of every resource's name."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name is 3 to 20 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts everything kept here."
  type        = string
  validation {
    condition     = can(regex("^arn:[a-z-]+:kms:", var.kms_key_arn))
    error_message = "kms_key_arn is the ARN of a KMS key."
  }
}

variable "subnet_ids" {
  description = "Private subnets, at least two, each in a zone of its own."
  type        = list(string)
  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "subnet_ids has at least two subnets, so that a writer and a reader stand in different zones."
  }
}

variable "zones" {
  description = "Availability zones of subnet_ids, in the same order."
  type        = list(string)
}

variable "security_group_ids" {
  description = "Groups by whom they are for: cache, proxy, database."
  type        = object({ cache = string, proxy = string, database = string })
}

# --- DynamoDB ---

variable "tables" {
  description = "Tables by what they are for: keys, the attributes' types, local secondary indexes, the attribute that says when an item may go. They come from the Go code, through contract.json."
  type = map(object({
    hash_key   = string
    range_key  = optional(string)
    attributes = map(string)
    ttl        = optional(string)
    indexes    = optional(map(string), {}) # local secondary indexes: what each is sorted by
  }))
  validation {
    condition     = alltrue([for t in values(var.tables) : alltrue([for type in values(t.attributes) : contains(["S", "N", "B"], type)])])
    error_message = "an attribute's type is S, N or B."
  }
}

variable "dynamodb_capacity" {
  description = "null: on demand. Otherwise provisioned capacity of every table, scaled between least and most units to the target utilisation in percent."
  type = object({
    read_min  = number
    read_max  = number
    write_min = number
    write_max = number
    target    = optional(number, 60)
  })
  default = null
  validation {
    condition = var.dynamodb_capacity == null || try(
      var.dynamodb_capacity.read_min >= 1 && var.dynamodb_capacity.read_max >= var.dynamodb_capacity.read_min &&
      var.dynamodb_capacity.write_min >= 1 && var.dynamodb_capacity.write_max >= var.dynamodb_capacity.write_min &&
    var.dynamodb_capacity.target >= 20 && var.dynamodb_capacity.target <= 90, false)
    error_message = "dynamodb_capacity: each minimum is at least 1 and at most its maximum, and target is 20 to 90."
  }
}

# --- ElastiCache ---

variable "cache_node_type" {
  description = "Node type of ElastiCache, such as cache.t4g.small."
  type        = string
  validation {
    condition     = startswith(var.cache_node_type, "cache.")
    error_message = "cache_node_type begins with cache., such as cache.t4g.small."
  }
}

variable "cache_shards" {
  description = "Shards of ElastiCache. Books spread over them by instrument (hash tags)."
  type        = number
  default     = 1
  validation {
    condition     = var.cache_shards >= 1 && var.cache_shards <= 90 && floor(var.cache_shards) == var.cache_shards
    error_message = "cache_shards is a whole number from 1 to 90."
  }
}

variable "cache_replicas" {
  description = "Replicas of each shard; with at least one, a shard survives the loss of a zone."
  type        = number
  default     = 1
  validation {
    condition     = var.cache_replicas >= 1 && var.cache_replicas <= 5 && floor(var.cache_replicas) == var.cache_replicas
    error_message = "cache_replicas is a whole number from 1 to 5."
  }
}

# --- Aurora ---

variable "aurora_clusters" {
  description = "Aurora clusters that orders and trades are spread over by account."
  type        = number
  default     = 1
  validation {
    condition     = var.aurora_clusters >= 1 && var.aurora_clusters <= 16 && floor(var.aurora_clusters) == var.aurora_clusters
    error_message = "aurora_clusters is a whole number from 1 to 16."
  }
}

variable "aurora_readers" {
  description = "Readers of each cluster, beside the writer."
  type        = number
  default     = 1
  validation {
    condition     = var.aurora_readers >= 1 && var.aurora_readers <= 15 && floor(var.aurora_readers) == var.aurora_readers
    error_message = "aurora_readers is a whole number from 1 to 15: at least one, in another zone than the writer."
  }
}

variable "aurora_capacity" {
  description = "Capacity units (2 GiB of memory each) a Serverless v2 instance scales between."
  type        = object({ min = number, max = number })
  default     = { min = 0.5, max = 8 }
  validation {
    condition     = var.aurora_capacity.min >= 0.5 && var.aurora_capacity.max >= 1 && var.aurora_capacity.max >= var.aurora_capacity.min && var.aurora_capacity.max <= 256
    error_message = "aurora_capacity: min is at least 0.5, max is at least 1 and min, and at most 256."
  }
}

variable "aurora_version" {
  description = "Aurora PostgreSQL version. A major one alone is Aurora's choice of minor one, which its maintenance windows raise."
  type        = string
  default     = "16"
  validation {
    condition     = can(regex("^1[5-9](\\.[0-9]+)?$", var.aurora_version))
    error_message = "aurora_version is 15 or newer, such as 16 or 16.6."
  }
}

variable "backup_days" {
  description = "Days that Aurora's backups reach back."
  type        = number
  default     = 14
  validation {
    condition     = var.backup_days >= 7 && var.backup_days <= 35
    error_message = "backup_days is 7 to 35."
  }
}

variable "password_days" {
  description = "Days between rotations of the database password, which only RDS Proxy uses."
  type        = number
  default     = 7
  validation {
    condition     = var.password_days >= 1 && var.password_days <= 365
    error_message = "password_days is 1 to 365."
  }
}

variable "log_days" {
  description = "Days that Aurora's logs are kept."
  type        = number
  default     = 30
  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_days)
    error_message = "log_days is one of the retentions that CloudWatch Logs has."
  }
}

variable "protect" {
  description = "Protect what cannot be made again (tables, clusters, the archive) from being deleted."
  type        = bool
  default     = true
}

# --- S3 ---

variable "archive_lock_days" {
  description = "null: none. Otherwise nobody, not even the account's root, can delete or overwrite an archive object for that many days (object lock, compliance mode). It can only be chosen when the bucket is made."
  type        = number
  default     = null
  validation {
    condition     = var.archive_lock_days == null || try(var.archive_lock_days >= 1 && var.archive_lock_days <= 36500, false)
    error_message = "archive_lock_days is null or 1 to 36500."
  }
}

variable "archive_colder_days" {
  description = "After how many days archive objects move to Standard-IA, and to Glacier Flexible Retrieval."
  type        = object({ infrequent = number, glacier = number })
  default     = { infrequent = 30, glacier = 365 }
  validation {
    condition     = var.archive_colder_days.infrequent >= 30 && var.archive_colder_days.glacier >= var.archive_colder_days.infrequent + 30
    error_message = "archive_colder_days: infrequent is at least 30, and glacier at least 30 more."
  }
}
