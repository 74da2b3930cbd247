# A venue that people trade on: 500 orders a second with a p99 below 100 ms of our
# own share. CAPACITY.md says which of these to turn for more.

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
  description = "Domain of the venue, such as trade.example.com."
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
    tags = { project = "exchange", environment = "production" }
  }
}

provider "aws" {
  alias  = "us_east_1"
  region = "us-east-1"
  default_tags {
    tags = { project = "exchange", environment = "production" }
  }
}

module "venue" {
  source           = "../.."
  providers        = { aws = aws, aws.us_east_1 = aws.us_east_1 }
  name             = "exchange"
  domain           = var.domain
  emails           = var.emails
  token_public_key = var.token_public_key
  zones            = ["${var.region}a", "${var.region}b", "${var.region}c"]
  zips             = "${path.module}/../../../../../lambda/arm64"

  # Queues, topic and functions of their own for each of ten pairs.
  shards      = 10
  concurrency = 20
  provisioned = { authorizer = 5, api = 10, order-processor = 20, risk-checker = 20, matching-engine = 2, market-data = 2, trade-recorder = 1, settler = 2, push = 10 }

  cache  = { node_type = "cache.r7g.large", shards = 2, replicas = 2 }
  aurora = { clusters = 1, readers = 2, min = 2, max = 32 }

  throttle          = { rate = 2000, burst = 4000, websocket_rate = 2000, websocket_burst = 4000 }
  cache_gb          = 0.5
  archive_lock_days = 2557 # seven years
  log_days          = 365
}

output "venue" {
  description = "Where it is, and what it consists of."
  value       = module.venue
}
