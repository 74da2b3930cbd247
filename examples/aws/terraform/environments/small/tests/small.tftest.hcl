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

mock_provider "aws" {
  alias = "us_east_1"
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

variables {
  domain           = "trade.example.com"
  emails           = ["desk@example.com"]
  token_public_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
}

run "small" {
  command = plan
  assert {
    condition     = toset([for name, f in output.venue.functions : name if !f.private]) == toset(["push"])
    error_message = "every function but push stands in a private subnet, and push in none"
  }
  assert {
    condition     = length(output.venue.functions) == 11
    error_message = "a function is missing: ${join(", ", keys(output.venue.functions))}"
  }
  assert {
    condition     = alltrue([for name in ["exchange-small-p99-accepted", "exchange-small-p99-durable", "exchange-small-p99-pushed", "exchange-small-diverged", "exchange-small-dead-exchange-small-requests-dead", "exchange-small-api-unhealthy", "exchange-small-trading-impaired", "exchange-small-settler-000-errors", "exchange-small-settler-000-throttles", "exchange-small-age-push", "exchange-small-throttled-journal", "exchange-small-logged-errors", "exchange-small-age-commands-000", "exchange-small-aurora-cpu-exchange-small-00", "exchange-small-cache-memory-exchange-small-0001-001", "exchange-small-cache-memory-exchange-small-0001-002"] : contains(output.venue.alarms, name)])
    error_message = "a documented alarm is missing: ${join(", ", output.venue.alarms)}"
  }
  assert {
    condition     = output.venue.url == "https://trade.example.com"
    error_message = "the venue is where it was asked to be"
  }
}
