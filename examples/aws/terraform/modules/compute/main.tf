# The functions: arm64, one role each, traced, their logs kept for log_days.

data "aws_caller_identity" "me" {}
data "aws_region" "here" {}
data "aws_partition" "here" {}

resource "aws_cloudwatch_log_group" "this" {
  for_each          = var.functions
  name              = "/aws/lambda/${var.name}-${each.key}"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

# --- roles ---

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.me.account_id]
    }
  }
}

resource "aws_iam_role" "this" {
  for_each           = var.functions
  name               = "${var.name}-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

data "aws_iam_policy_document" "this" {
  for_each = var.functions

  statement {
    sid       = "Logs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.this[each.key].arn}:*"]
  }

  # X-Ray knows no resources.
  statement {
    sid       = "Traces"
    actions   = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
    resources = ["*"]
  }

  # The network interfaces of a function in a VPC are made with its role, and
  # EC2 knows no resources for describing them. Code in the function may not.
  dynamic "statement" {
    for_each = each.value.private ? [1] : []
    content {
      sid = "Network"
      actions = [
        "ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses",
      ]
      resources = ["*"]
    }
  }
  dynamic "statement" {
    for_each = each.value.private ? [1] : []
    content {
      sid    = "NotFromCode"
      effect = "Deny"
      actions = [
        "ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses",
      ]
      resources = ["*"]
      condition {
        test     = "ArnEquals"
        variable = "lambda:SourceFunctionArn"
        values   = ["arn:${data.aws_partition.here.partition}:lambda:${data.aws_region.here.name}:${data.aws_caller_identity.me.account_id}:function:${var.name}-${each.key}"]
      }
    }
  }

  dynamic "statement" {
    for_each = length(each.value.queues) == 0 ? [] : [1]
    content {
      sid       = "OwnQueues"
      actions   = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
      resources = [for q in values(each.value.queues) : q.arn]
    }
  }

  # Queues, topics, tables and secrets are encrypted with it.
  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [var.kms_key_arn]
  }

  dynamic "statement" {
    for_each = each.value.statements
    content {
      sid       = statement.value.sid
      actions   = statement.value.actions
      resources = statement.value.resources
      dynamic "condition" {
        for_each = statement.value.conditions
        content {
          test     = condition.value.test
          variable = condition.value.variable
          values   = condition.value.values
        }
      }
    }
  }
}

resource "aws_iam_role_policy" "this" {
  for_each = var.functions
  name     = "function"
  role     = aws_iam_role.this[each.key].id
  policy   = data.aws_iam_policy_document.this[each.key].json
}

# --- functions ---

resource "aws_lambda_function" "this" {
  for_each = var.functions

  function_name                  = "${var.name}-${each.key}"
  role                           = aws_iam_role.this[each.key].arn
  filename                       = "${var.zips}/${coalesce(each.value.zip, each.key)}.zip"
  source_code_hash               = try(filebase64sha256("${var.zips}/${coalesce(each.value.zip, each.key)}.zip"), null)
  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  architectures                  = ["arm64"]
  timeout                        = each.value.timeout
  memory_size                    = each.value.memory
  reserved_concurrent_executions = each.value.reserved
  publish                        = true # a version for the alias
  kms_key_arn                    = var.kms_key_arn

  environment {
    variables = each.value.environment
  }

  tracing_config {
    mode = "Active"
  }

  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.this[each.key].name
  }

  dynamic "vpc_config" {
    for_each = each.value.private ? [1] : []
    content {
      subnet_ids         = var.subnet_ids
      security_group_ids = [var.security_group_id]
    }
  }

  depends_on = [aws_iam_role_policy.this]
}

# Everything calls the alias: rolling back is pointing it at the version before.
resource "aws_lambda_alias" "live" {
  for_each         = var.functions
  name             = "live"
  function_name    = aws_lambda_function.this[each.key].function_name
  function_version = aws_lambda_function.this[each.key].version
}

resource "aws_lambda_provisioned_concurrency_config" "this" {
  for_each                          = { for name, f in var.functions : name => f if f.provisioned > 0 }
  function_name                     = aws_lambda_function.this[each.key].function_name
  qualifier                         = aws_lambda_alias.live[each.key].name
  provisioned_concurrent_executions = each.value.provisioned
}

locals {
  sources = merge([for name, f in var.functions : { for queue, q in f.queues : "${name}/${queue}" => merge(q, { function = name }) }]...)
}

# One batch of a message group is in flight at a time; a function reports the
# first failure of a group and everything after it.
resource "aws_lambda_event_source_mapping" "this" {
  for_each                = local.sources
  event_source_arn        = each.value.arn
  function_name           = aws_lambda_alias.live[each.value.function].arn
  batch_size              = each.value.batch
  function_response_types = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = each.value.concurrency
  }

  depends_on = [aws_iam_role_policy.this]
}
