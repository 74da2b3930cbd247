# Every documented threshold has an alarm, every alarm goes to one topic, and
# RUNBOOK.md says for each what it means and what to do first.

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = var.kms_key_arn
}

data "aws_iam_policy_document" "alarms" {
  statement {
    sid       = "FromCloudWatch"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms.arn]
    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.me.account_id]
    }
  }
}

resource "aws_sns_topic_policy" "alarms" {
  arn    = aws_sns_topic.alarms.arn
  policy = data.aws_iam_policy_document.alarms.json
}

resource "aws_sns_topic_subscription" "email" {
  for_each  = var.emails
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.key
}

locals {
  alarm_actions = [aws_sns_topic.alarms.arn]

  # p99 in milliseconds; the services' own durations and the API's.
  latencies = {
    accepted = { namespace = "AWS/ApiGateway", metric = "Latency", dimensions = { ApiName = var.rest_api.name, Stage = var.rest_api.stage } }
    durable  = { namespace = var.namespace, metric = "matching_committed", dimensions = {} }
    pushed   = { namespace = var.namespace, metric = "marketdata_latency", dimensions = {} }
  }

  # One of these is one too many.
  nevers = {
    diverged  = { metric = "matching_diverged", says = "HALTED: a replay gave other events than the journal has; the instrument stands still" }
    panicked  = { metric = "matching_panics", says = "a command made the engine fail; it was refused, and the state loaded again" }
    malformed = { metric = "matching_malformed", says = "something on a command queue is no command" }
  }
}

resource "aws_cloudwatch_metric_alarm" "latency" {
  for_each            = local.latencies
  alarm_name          = "${var.name}-p99-${each.key}"
  alarm_description   = "p99 of ${each.key} is above ${var.latency_ms} ms"
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  extended_statistic  = "p99"
  threshold           = var.latency_ms
  comparison_operator = "GreaterThanThreshold"
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "never" {
  for_each            = local.nevers
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.says
  namespace           = var.namespace
  metric_name         = each.value.metric
  statistic           = "Sum"
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  period              = 60
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

# An instrument that stands still for whatever reason lets its commands get old.
resource "aws_cloudwatch_metric_alarm" "message_age" {
  for_each            = var.queues
  alarm_name          = "${var.name}-age-${each.key}"
  alarm_description   = "The oldest message of ${each.key} has waited for more than ${var.message_age_seconds} s: an instrument may be halted"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = each.value }
  statistic           = "Maximum"
  threshold           = var.message_age_seconds
  comparison_operator = "GreaterThanThreshold"
  period              = 60
  evaluation_periods  = 2
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  for_each            = toset(var.dead_queues)
  alarm_name          = "${var.name}-dead-${each.key}"
  alarm_description   = "Requests could not be delivered in time and lie in ${each.key}"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = each.key }
  statistic           = "Maximum"
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  period              = 60
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

locals {
  function_alarms = merge([for kind in ["Errors", "Throttles"] : {
    for key, f in var.functions : "${key}-${lower(kind)}" => { metric = kind, function = f.name, key = key }
  }]...)
}

resource "aws_cloudwatch_metric_alarm" "function" {
  for_each            = local.function_alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "More than ${var.error_percent} % ${lower(each.value.metric)} of ${each.value.key}"
  threshold           = var.error_percent
  comparison_operator = "GreaterThanThreshold"
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions

  metric_query {
    id          = "percent"
    expression  = each.value.metric == "Throttles" ? "100 * bad / (bad + FILL(invocations, 0))" : "100 * bad / invocations" # a throttled call is no invocation; 0 / 0 is missing
    label       = each.value.metric
    return_data = true
  }
  metric_query {
    id = "bad"
    metric {
      namespace   = "AWS/Lambda"
      metric_name = each.value.metric
      dimensions  = { FunctionName = each.value.function }
      stat        = "Sum"
      period      = 60
    }
  }
  metric_query {
    id = "invocations"
    metric {
      namespace   = "AWS/Lambda"
      metric_name = "Invocations"
      dimensions  = { FunctionName = each.value.function }
      stat        = "Sum"
      period      = 60
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "aurora_cpu" {
  for_each            = toset(var.aurora_cluster_ids)
  alarm_name          = "${var.name}-aurora-cpu-${each.key}"
  alarm_description   = "CPU of Aurora cluster ${each.key} is above ${var.utilisation_percent} %"
  namespace           = "AWS/RDS"
  metric_name         = "CPUUtilization"
  dimensions          = { DBClusterIdentifier = each.key }
  statistic           = "Maximum"
  threshold           = var.utilisation_percent
  comparison_operator = "GreaterThanThreshold"
  period              = 60
  evaluation_periods  = 5
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "cache_memory" {
  for_each            = toset(var.cache_nodes)
  alarm_name          = "${var.name}-cache-memory-${each.key}"
  alarm_description   = "Memory of ElastiCache node ${each.key} is above ${var.utilisation_percent} %; when it is full, books are refused, not evicted"
  namespace           = "AWS/ElastiCache"
  metric_name         = "DatabaseMemoryUsagePercentage"
  dimensions          = { CacheClusterId = each.key }
  statistic           = "Maximum"
  threshold           = var.utilisation_percent
  comparison_operator = "GreaterThanThreshold"
  period              = 60
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "table_throttles" {
  for_each            = var.tables
  alarm_name          = "${var.name}-throttled-${each.key}"
  alarm_description   = "DynamoDB throttles table ${each.key}"
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions

  metric_query {
    id          = "throttled"
    expression  = "FILL(reads, 0) + FILL(writes, 0)" # DynamoDB reports neither while there are none, and what is missing has no sum
    label       = "throttled"
    return_data = true
  }
  dynamic "metric_query" {
    for_each = { reads = "ReadThrottleEvents", writes = "WriteThrottleEvents" }
    content {
      id = metric_query.key
      metric {
        namespace   = "AWS/DynamoDB"
        metric_name = metric_query.value
        dimensions  = { TableName = each.value }
        stat        = "Sum"
        period      = 60
      }
    }
  }
}

locals {
  log_groups = merge({ for key, f in var.functions : key => f.log_group }, var.log_groups)
}

# Every service writes its errors as JSON lines with level ERROR.
resource "aws_cloudwatch_log_metric_filter" "errors" {
  for_each       = local.log_groups
  name           = "${var.name}-${each.key}-errors"
  log_group_name = each.value
  pattern        = "{ $.level = \"ERROR\" }"
  metric_transformation {
    namespace     = var.namespace
    name          = "logged_errors"
    value         = "1"
    default_value = 0
  }
}

resource "aws_cloudwatch_metric_alarm" "logged_errors" {
  count               = length(local.log_groups) == 0 ? 0 : 1
  alarm_name          = "${var.name}-logged-errors"
  alarm_description   = "The services log errors"
  namespace           = var.namespace
  metric_name         = "logged_errors"
  statistic           = "Sum"
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  ok_actions          = local.alarm_actions
  depends_on          = [aws_cloudwatch_log_metric_filter.errors]
}

# Route 53 keeps its metrics in us-east-1; an alarm there can only tell a topic
# there. The topic has a key of its own: CloudWatch may not use the one that SNS
# brings, and an alarm would tell nobody.
data "aws_iam_policy_document" "health_key" {
  statement {
    sid = "ByRoles"
    actions = [
      "kms:CancelKeyDeletion", "kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:DisableKey", "kms:DisableKeyRotation", "kms:EnableKey",
      "kms:EnableKeyRotation", "kms:GenerateDataKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListGrants", "kms:ListKeyPolicies",
      "kms:ListKeyRotations", "kms:ListResourceTags", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:TagResource", "kms:UntagResource",
      "kms:UpdateKeyDescription",
    ]
    resources = ["*"] # in a key policy: this key
    principals {
      type        = "AWS"
      identifiers = ["arn:${data.aws_partition.here.partition}:iam::${data.aws_caller_identity.me.account_id}:root"]
    }
  }
  statement {
    sid       = "Alarms"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = ["*"]
    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.me.account_id]
    }
  }
}

resource "aws_kms_key" "health" {
  provider                = aws.us_east_1
  description             = "${var.name}-health"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.health_key.json
}

resource "aws_sns_topic" "health" {
  provider          = aws.us_east_1
  name              = "${var.name}-health"
  kms_master_key_id = aws_kms_key.health.arn
}

resource "aws_sns_topic_subscription" "health" {
  provider  = aws.us_east_1
  for_each  = var.emails
  topic_arn = aws_sns_topic.health.arn
  protocol  = "email"
  endpoint  = each.key
}

resource "aws_cloudwatch_metric_alarm" "health" {
  provider            = aws.us_east_1
  alarm_name          = "${var.name}-api-unhealthy"
  alarm_description   = "Route 53 cannot reach the API from outside"
  namespace           = "AWS/Route53"
  metric_name         = "HealthCheckStatus"
  dimensions          = { HealthCheckId = var.health_check_id }
  statistic           = "Minimum"
  threshold           = 1
  comparison_operator = "LessThanThreshold"
  period              = 60
  evaluation_periods  = 2
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.health.arn]
  ok_actions          = [aws_sns_topic.health.arn]
}

# One answer to "can people trade?": whether what is in front of the books moves.
# The queues behind them have alarms of their own, and p99-pushed says when
# clients hear late. It may be made of 100 alarms at most.
locals {
  trading = concat(
    [for a in aws_cloudwatch_metric_alarm.latency : a.alarm_name],
    [aws_cloudwatch_metric_alarm.never["diverged"].alarm_name],
    [for key, a in aws_cloudwatch_metric_alarm.message_age : a.alarm_name if can(regex("^(requests|commands)", key))],
    [for key, a in aws_cloudwatch_metric_alarm.function : a.alarm_name if can(regex("^(order-processor|risk-checker|matching-engine)", local.function_alarms[key].key))],
  )
}

resource "aws_cloudwatch_composite_alarm" "trading" {
  alarm_name        = "${var.name}-trading-impaired"
  alarm_description = "Trading is impaired: orders are slow, stand still, or fail"
  alarm_actions     = local.alarm_actions
  ok_actions        = local.alarm_actions
  alarm_rule        = join(" OR ", [for name in local.trading : "ALARM(\"${name}\")"])

  lifecycle {
    precondition {
      condition     = length(local.trading) <= 100
      error_message = "CloudWatch takes 100 alarms in a composite alarm, and there are ${length(local.trading)}."
    }
  }
}
