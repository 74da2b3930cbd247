# A venue for trying things: the least of everything, and it may be destroyed.

terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
  # backend "s3" {} # see RUNBOOK.md: state is encrypted and locked
}

variable "region" {
  description = "Region of the venue."
  type        = string
  default     = "eu-central-1"
  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region is a region of AWS such as eu-central-1."
  }
}

variable "domain" {
  description = "Domain of the venue, such as try.example.com."
  type        = string
}

variable "emails" {
  description = "Who is told of alarms."
  type        = set(string)
}

variable "token_public_key" {
  description = "Ed25519 key that tokens are checked with, base64."
  type        = string
}

provider "aws" {
  region = var.region
  default_tags {
    tags = { project = "exchange", environment = "small" }
  }
}

provider "aws" {
  alias  = "us_east_1"
  region = "us-east-1"
  default_tags {
    tags = { project = "exchange", environment = "small" }
  }
}

module "venue" {
  source           = "../.."
  providers        = { aws = aws, aws.us_east_1 = aws.us_east_1 }
  name             = "exchange-small"
  domain           = var.domain
  emails           = var.emails
  token_public_key = var.token_public_key
  zones            = ["${var.region}a", "${var.region}b"]
  zips             = "${path.module}/../../../../../lambda/arm64"
  protect          = false
  log_days         = 7
  throttle         = { rate = 100, burst = 200, websocket_rate = 100, websocket_burst = 200 }
}

output "venue" {
  description = "Where it is, and what it consists of."
  value       = module.venue
}
