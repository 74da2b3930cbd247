mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

variables {
  name        = "venue"
  cidr        = "10.20.0.0/16"
  zones       = ["eu-central-1a", "eu-central-1b"]
  kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
}

run "no_way_out" {
  command = plan
  assert {
    condition     = length(aws_nat_gateway.this) == 0 && length(aws_internet_gateway.this) == 0 && length(aws_route.out) == 0
    error_message = "nothing on the trading path needs the internet"
  }
  assert {
    condition     = alltrue([for e in aws_vpc_endpoint.interface : e.private_dns_enabled])
    error_message = "an endpoint that is not found by its private name is not used"
  }
  assert {
    condition     = length(setsubtract(["sqs", "sns", "execute-api", "events", "logs", "monitoring", "secretsmanager", "lambda"], keys(aws_vpc_endpoint.interface))) == 0
    error_message = "an interface endpoint is missing"
  }
  assert {
    condition     = toset(keys(aws_vpc_endpoint.gateway)) == toset(["dynamodb", "s3"])
    error_message = "DynamoDB and S3 are reached through gateway endpoints"
  }
  assert {
    condition     = alltrue([for e in aws_vpc_endpoint.gateway : e.policy != null]) && alltrue([for e in aws_vpc_endpoint.interface : e.policy != null])
    error_message = "every endpoint has a policy"
  }
  assert {
    condition     = alltrue(flatten([for actions in concat(values(local.gateway_endpoints), values(local.interface_endpoints)) : [for a in actions : !strcontains(a, "*")]]))
    error_message = "an endpoint's policy names each action"
  }
}

run "more_zones_keep_addresses" {
  command = plan
  variables {
    zones = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
    nat   = true
  }
  assert {
    condition     = aws_subnet.private["eu-central-1a"].cidr_block == "10.20.0.0/20" && aws_subnet.private["eu-central-1b"].cidr_block == "10.20.16.0/20" && aws_subnet.private["eu-central-1c"].cidr_block == "10.20.32.0/20"
    error_message = "a zone that is added leaves the addresses of the others"
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 3
    error_message = "one NAT gateway a zone"
  }
}

run "one_zone_is_refused" {
  command = plan
  variables {
    zones = ["eu-central-1a"]
  }
  expect_failures = [var.zones]
}

run "a_small_range_is_refused" {
  command = plan
  variables {
    cidr = "10.20.0.0/24"
  }
  expect_failures = [var.cidr]
}
