variable "name" {
  description = "Prefix of every resource's name."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name is 3 to 20 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts Kubernetes secrets, images, volumes and logs."
  type        = string
  validation {
    condition     = can(regex("^arn:[a-z-]+:kms:", var.kms_key_arn))
    error_message = "kms_key_arn is the ARN of a KMS key."
  }
}

variable "subnet_ids" {
  description = "Private subnets that the nodes stand in, one a zone."
  type        = list(string)
  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "subnet_ids has at least two subnets."
  }
}

variable "security_group_id" {
  description = "Group of the services, which the nodes belong to."
  type        = string
}

variable "kubernetes_version" {
  description = "Kubernetes version of the cluster."
  type        = string
  default     = "1.33"
  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version))
    error_message = "kubernetes_version is such as 1.33."
  }
}

variable "public_cidrs" {
  description = "Address ranges that may reach the cluster's API from outside; empty: only the VPC."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for c in var.public_cidrs : can(cidrhost(c, 0)) && c != "0.0.0.0/0"])
    error_message = "public_cidrs are IPv4 ranges, and not 0.0.0.0/0."
  }
}

variable "admins" {
  description = "ARNs of the roles that administer the cluster."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for a in var.admins : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/", a))])
    error_message = "admins are ARNs of roles."
  }
}

variable "nodes" {
  description = "Node groups, by name: engines for the matching engines, which stay where they are, and services for the rest. Instance types (arm64), and least and most nodes."
  type = map(object({
    types = list(string)
    min   = number
    max   = number
  }))
  default = {
    engines  = { types = ["c7g.large"], min = 3, max = 30 }
    services = { types = ["c7g.large", "m7g.large"], min = 3, max = 60 }
  }
  validation {
    condition     = toset(keys(var.nodes)) == toset(["engines", "services"]) && alltrue([for n in values(var.nodes) : n.min >= 1 && n.max >= n.min && length(n.types) > 0])
    error_message = "nodes has engines and services, each with instance types, and min from 1 to max."
  }
}

variable "services" {
  description = "The services that run here, by name, with what each may do."
  type = map(list(object({
    sid       = string
    actions   = list(string)
    resources = list(string)
  })))
  validation {
    condition     = alltrue(flatten([for statements in values(var.services) : [for s in statements : [for a in s.actions : !strcontains(a, "*")]]]))
    error_message = "a statement names each action, without a wildcard."
  }
}

variable "log_days" {
  description = "Days that the control plane's logs are kept."
  type        = number
  default     = 30
  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_days)
    error_message = "log_days is one of the retentions that CloudWatch Logs has."
  }
}
