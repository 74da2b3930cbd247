# The whole pipeline on one page, in the order in which a request passes it.

data "aws_region" "here" {}
data "aws_caller_identity" "me" {}
data "aws_partition" "here" {}

locals {
  own = var.namespace

  # Each a title and lines; a line is namespace, metric, dimensions..., options.
  graphs = [
    { title = "Requests and refusals", stat = "Sum", lines = [
      ["AWS/ApiGateway", "Count", "ApiName", var.rest_api.name, "Stage", var.rest_api.stage],
      ["AWS/ApiGateway", "4XXError", "ApiName", var.rest_api.name, "Stage", var.rest_api.stage],
      ["AWS/ApiGateway", "5XXError", "ApiName", var.rest_api.name, "Stage", var.rest_api.stage],
      [local.own, "risk_admitted"], [local.own, "risk_refused"], [local.own, "processor_invalid"],
    ] },
    { title = "Commands and trades", stat = "Sum", lines = [[local.own, "matching_commands"], [local.own, "matching_trades"], [local.own, "matching_batches"]] },
    { title = "End to end, p50", stat = "p50", lines = local.hops },
    { title = "End to end, p99", stat = "p99", lines = local.hops },
    { title = "Age of the oldest message", stat = "Maximum", lines = [for key, q in var.queues : ["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", q, { label = key }]] },
    { title = "The journal's head, and how far its consumers are: pushed, recorded, archived, settled", stat = "Maximum", lines = [
      [{ expression = "SEARCH('{${local.own},instrument} MetricName=(\"matching_position\" OR \"marketdata_position\" OR \"recorder_position\" OR \"archive_position\" OR \"settler_position\")', 'Maximum', 60)", id = "positions" }],
    ] },
    { title = "Fenced appends, duplicates, orphan holds, gaps", stat = "Sum", lines = [
      [local.own, "matching_fenced"], [local.own, "matching_duplicates"], [local.own, "risk_repeated"], [local.own, "sweeper_voids"], [local.own, "sweeper_woken"], [local.own, "marketdata_skipped"],
    ] },
    { title = "What must never happen", stat = "Sum", lines = [[local.own, "matching_diverged"], [local.own, "matching_panics"], [local.own, "matching_malformed"], [local.own, "logged_errors"]] },
    { title = "Lambda errors", stat = "Sum", lines = [for key, f in var.functions : ["AWS/Lambda", "Errors", "FunctionName", f.name, { label = key }]] },
    { title = "Lambda throttles", stat = "Sum", lines = [for key, f in var.functions : ["AWS/Lambda", "Throttles", "FunctionName", f.name, { label = key }]] },
    { title = "Lambda concurrency", stat = "Maximum", lines = [for key, f in var.functions : ["AWS/Lambda", "ConcurrentExecutions", "FunctionName", f.name, { label = key }]] },
    { title = "Lambda duration, p99", stat = "p99", lines = [for key, f in var.functions : ["AWS/Lambda", "Duration", "FunctionName", f.name, { label = key }]] },
    { title = "Aurora CPU", stat = "Maximum", lines = [for id in var.aurora_cluster_ids : ["AWS/RDS", "CPUUtilization", "DBClusterIdentifier", id]] },
    { title = "ElastiCache memory", stat = "Maximum", lines = [for node in var.cache_nodes : ["AWS/ElastiCache", "DatabaseMemoryUsagePercentage", "CacheClusterId", node]] },
    { title = "DynamoDB throttles", stat = "Sum", lines = flatten([for key, t in var.tables : [for m in ["ReadThrottleEvents", "WriteThrottleEvents"] : { line = ["AWS/DynamoDB", m, "TableName", t, { label = "${key} ${m}" }] }]])[*].line },
    { title = "WebSocket: connections, messages, errors", stat = "Sum", lines = [
      for m in ["ConnectCount", "MessageCount", "ClientError", "ExecutionError"] : ["AWS/ApiGateway", m, "ApiId", var.websocket_api.id, "Stage", var.websocket_api.stage]
    ] },
  ]

  hops = [
    ["AWS/ApiGateway", "Latency", "ApiName", var.rest_api.name, "Stage", var.rest_api.stage, { label = "accepted" }],
    [local.own, "requests_processed", { label = "checked" }],
    [local.own, "matching_queue_age", { label = "taken" }],
    [local.own, "matching_committed", { label = "durable" }],
    [local.own, "matching_published", { label = "published" }],
    [local.own, "marketdata_latency", { label = "pushed" }],
    [local.own, "recorder_latency", { label = "recorded" }],
    [local.own, "settler_latency", { label = "settled" }],
  ]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name
  dashboard_body = jsonencode({
    widgets = [for i, g in local.graphs : {
      type   = "metric"
      x      = i % 2 * 12
      y      = floor(i / 2) * 6
      width  = 12
      height = 6
      properties = {
        title   = g.title
        region  = data.aws_region.here.name
        stat    = g.stat
        period  = 60
        view    = "timeSeries"
        metrics = g.lines
      }
    } if length(g.lines) > 0]
  })
}
