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
  name              = "venue"
  kms_key_arn       = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  zips              = "does-not-exist"
  subnet_ids        = ["subnet-1", "subnet-2"]
  security_group_id = "sg-1"
  functions = {
    inside = {
      environment = { A = "1" }
      statements  = [{ sid = "Send", actions = ["sqs:SendMessage"], resources = ["arn:aws:sqs:eu-central-1:123456789012:q"] }]
      provisioned = 2
      queues      = { commands = { arn = "arn:aws:sqs:eu-central-1:123456789012:q.fifo", concurrency = 7 } }
    }
    outside = { environment = {}, statements = [], private = false }
  }
}

run "as_described" {
  command = plan
  assert {
    condition     = length(aws_lambda_function.this["inside"].vpc_config) == 1 && length(aws_lambda_function.this["outside"].vpc_config) == 0
    error_message = "only a private function stands in the VPC"
  }
  assert {
    condition     = alltrue([for f in aws_lambda_function.this : f.architectures == tolist(["arm64"]) && f.tracing_config[0].mode == "Active"])
    error_message = "functions are arm64 and traced"
  }
  assert {
    condition     = alltrue([for g in aws_cloudwatch_log_group.this : g.retention_in_days == 30 && g.kms_key_id == var.kms_key_arn])
    error_message = "logs end some day, and are encrypted"
  }
  assert {
    condition     = aws_lambda_event_source_mapping.this["inside/commands"].function_response_types == toset(["ReportBatchItemFailures"]) && aws_lambda_event_source_mapping.this["inside/commands"].scaling_config[0].maximum_concurrency == 7 && aws_lambda_event_source_mapping.this["inside/commands"].batch_size == 10
    error_message = "a batch may fail in part, and concurrency is bounded"
  }
  assert {
    condition     = toset(keys(aws_lambda_provisioned_concurrency_config.this)) == toset(["inside"])
    error_message = "only what is asked for is kept warm"
  }
}

run "a_wildcard_is_refused" {
  command = plan
  variables {
    functions = { bad = { environment = {}, statements = [{ sid = "All", actions = ["sqs:*"], resources = ["*"] }] } }
  }
  expect_failures = [var.functions]
}
