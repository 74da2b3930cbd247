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
  name             = "venue"
  domain           = "trade.example.com"
  emails           = ["desk@example.com"]
  zones            = ["eu-central-1a", "eu-central-1b"]
  zips             = "does-not-exist"
  token_public_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
}

run "containers_instead_of_functions" {
  command = plan
  variables {
    compute = "eks"
    shards  = 4
  }
  assert {
    condition     = toset(keys(output.functions)) == toset(["api", "authorizer", "push", "websocket"])
    error_message = "only what API Gateway calls stays a function: ${join(", ", keys(output.functions))}"
  }
  assert {
    condition     = toset(output.eks.service_accounts) == toset(["market-data", "matching-engine", "order-processor", "settler", "sweeper", "trade-recorder"])
    error_message = "every service has a role of its own"
  }
  assert {
    condition     = contains(output.alarms, "venue-logged-errors")
    error_message = "errors that containers log are counted too"
  }
}

run "no_cluster_without_need" {
  command = plan
  assert {
    condition     = output.eks == null
    error_message = "functions need no cluster"
  }
  assert {
    condition     = length(setsubtract(["JOURNAL_TABLE", "COMMAND_QUEUES", "DATABASE_URL", "REQUEST_QUEUE"], keys(output.environment))) == 0
    error_message = "operate is told what the services are"
  }
}

run "a_wrong_domain_is_refused" {
  command = plan
  variables {
    domain = "Trade Example"
  }
  expect_failures = [var.domain]
}

run "more_shards_than_functions_can_be_told_are_refused" {
  command = plan
  variables {
    shards = 21
  }
  expect_failures = [var.shards]
}
