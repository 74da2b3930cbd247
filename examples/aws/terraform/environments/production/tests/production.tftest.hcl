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

run "production" {
  command = plan
  assert {
    condition     = toset([for name, f in output.venue.functions : name if !f.private]) == toset(["push"])
    error_message = "every function but push stands in a private subnet, and push in none"
  }
  assert {
    condition     = length(output.venue.functions) == 47
    error_message = "a function is missing: ${join(", ", keys(output.venue.functions))}"
  }
  assert {
    condition     = alltrue([for name in ["exchange-p99-accepted", "exchange-p99-durable", "exchange-p99-pushed", "exchange-diverged", "exchange-dead-exchange-requests-dead", "exchange-api-unhealthy", "exchange-trading-impaired", "exchange-settler-000-errors", "exchange-settler-000-throttles", "exchange-age-push", "exchange-throttled-journal", "exchange-logged-errors", "exchange-age-commands-000", "exchange-age-commands-001", "exchange-age-commands-002", "exchange-age-commands-003", "exchange-age-commands-004", "exchange-age-commands-005", "exchange-age-commands-006", "exchange-age-commands-007", "exchange-age-commands-008", "exchange-age-commands-009", "exchange-aurora-cpu-exchange-00", "exchange-cache-memory-exchange-0001-001", "exchange-cache-memory-exchange-0002-003"] : contains(output.venue.alarms, name)])
    error_message = "a documented alarm is missing: ${join(", ", output.venue.alarms)}"
  }
  assert {
    condition     = output.venue.url == "https://trade.example.com"
    error_message = "the venue is where it was asked to be"
  }
}
