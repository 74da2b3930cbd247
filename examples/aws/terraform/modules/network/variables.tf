variable "name" {
  description = "Prefix of every resource's name: lower-case letters, digits and hyphens, 3 to 20 characters."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name is 3 to 20 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "cidr" {
  description = "Addresses of the VPC, a /16 to /20. Each zone takes two sixteenths of it."
  type        = string
  validation {
    condition     = can(cidrhost(var.cidr, 0)) && tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 20
    error_message = "cidr is an IPv4 range from /16 to /20, such as 10.20.0.0/16."
  }
}

variable "zones" {
  description = "Availability zones to spread over, such as [\"eu-central-1a\", \"eu-central-1b\"]. More may be added later: the addresses of those before stay."
  type        = list(string)
  validation {
    condition     = length(var.zones) >= 2 && length(var.zones) <= 6 && length(distinct(var.zones)) == length(var.zones)
    error_message = "zones lists 2 to 6 different availability zones."
  }
}

variable "nat" {
  description = "Give the private subnets a way out through one NAT gateway a zone. Nothing on the trading path needs it; EKS nodes that pull from a public registry do."
  type        = bool
  default     = false
}

variable "extra_interface_endpoints" {
  description = "Further services to reach through an interface endpoint, by the last part of the endpoint's name, with the actions it lets through. EKS nodes need ecr.api, ecr.dkr, sts, ec2, eks and eks-auth."
  type        = map(list(string))
  default     = {}
  validation {
    condition     = alltrue([for actions in values(var.extra_interface_endpoints) : length(actions) > 0 && !contains(actions, "*")])
    error_message = "extra_interface_endpoints names each action; \"*\" is none."
  }
}

variable "flow_log_days" {
  description = "How many days the VPC's flow logs are kept."
  type        = number
  default     = 30
  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.flow_log_days)
    error_message = "flow_log_days is one of the retentions that CloudWatch Logs has."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts the flow logs."
  type        = string
  validation {
    condition     = can(regex("^arn:[a-z-]+:kms:", var.kms_key_arn))
    error_message = "kms_key_arn is the ARN of a KMS key."
  }
}
