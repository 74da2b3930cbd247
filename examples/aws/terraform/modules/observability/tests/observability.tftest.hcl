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
}

variables {
  name               = "venue"
  kms_key_arn        = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  namespace          = "Exchange"
  emails             = ["desk@example.com"]
  functions          = { matching-engine = { name = "venue-matching-engine", log_group = "/aws/lambda/venue-matching-engine" }, settler = { name = "venue-settler", log_group = "/aws/lambda/venue-settler" } }
  queues             = { commands-000 = "venue-commands-000.fifo" }
  dead_queues        = ["venue-requests-dead"]
  tables             = { journal = "venue-journal" }
  aurora_cluster_ids = ["venue-00"]
  cache_nodes        = ["venue-0001-001"]
  rest_api           = { name = "venue", stage = "v1" }
  websocket_api      = { id = "abc", stage = "ws" }
  health_check_id    = "hc"
}

override_resource {
  target          = aws_kms_key.health
  override_during = plan
  values          = { arn = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000" }
}

run "every_documented_alarm" {
  command = plan
  assert {
    condition = alltrue([for name in [
      "venue-p99-accepted", "venue-p99-durable", "venue-p99-pushed", "venue-diverged", "venue-age-commands-000", "venue-dead-venue-requests-dead",
      "venue-matching-engine-errors", "venue-matching-engine-throttles", "venue-settler-errors", "venue-settler-throttles",
      "venue-aurora-cpu-venue-00", "venue-cache-memory-venue-0001-001", "venue-throttled-journal", "venue-api-unhealthy", "venue-trading-impaired",
    ] : contains(output.alarms, name)])
    error_message = "a documented alarm is missing"
  }
  assert {
    condition     = alltrue([for a in aws_cloudwatch_metric_alarm.latency : a.threshold == 100 && a.extended_statistic == "p99"])
    error_message = "p99 over 100 ms"
  }
  assert {
    condition     = alltrue([for a in aws_cloudwatch_metric_alarm.aurora_cpu : a.threshold == 80]) && alltrue([for a in aws_cloudwatch_metric_alarm.cache_memory : a.threshold == 80])
    error_message = "Aurora CPU and ElastiCache memory over 80 %"
  }
  assert {
    condition     = strcontains(aws_cloudwatch_composite_alarm.trading.alarm_rule, "venue-diverged") && strcontains(aws_cloudwatch_composite_alarm.trading.alarm_rule, "venue-age-commands-000")
    error_message = "a halted instrument impairs trading"
  }
  assert {
    condition     = length(jsondecode(output.dashboard).widgets) == 16
    error_message = "the dashboard shows the whole pipeline"
  }
  assert {
    condition     = alltrue([for a in aws_cloudwatch_metric_alarm.table_throttles : [for q in a.metric_query : q.expression if q.id == "throttled"] == ["FILL(reads, 0) + FILL(writes, 0)"]])
    error_message = "reads that are throttled ring without writes that are"
  }
  assert {
    condition     = strcontains(output.dashboard, "matching_position") && strcontains(output.dashboard, "settler_position")
    error_message = "the journal's head is seen against its consumers"
  }
  assert {
    condition     = aws_kms_key.health.enable_key_rotation && aws_sns_topic.health.kms_master_key_id == aws_kms_key.health.arn
    error_message = "CloudWatch may not use SNS's own key: the alarm of the health check would tell nobody"
  }
  assert {
    condition     = aws_sns_topic.alarms.kms_master_key_id == var.kms_key_arn
    error_message = "alarms are encrypted"
  }
}

# CloudWatch takes 100 alarms in a composite alarm; the alarm's precondition
# counts them, with the most shards that functions, and then containers, have.
run "twenty_shards_of_functions" {
  command = plan
  variables {
    queues    = { for name in concat(["requests", "push"], flatten([for i in range(20) : [for c in ["commands", "market-data", "trade-recorder", "settler"] : "${c}-${format("%03d", i)}"]])) : name => name }
    functions = { for name in concat(["order-processor", "risk-checker"], [for i in range(20) : "matching-engine-${format("%03d", i)}"]) : name => { name = name, log_group = "/${name}" } }
  }
  assert {
    condition     = alltrue([for name in ["venue-age-commands-019", "venue-age-requests", "venue-matching-engine-019-errors", "venue-risk-checker-throttles"] : strcontains(aws_cloudwatch_composite_alarm.trading.alarm_rule, "\"${name}\"")])
    error_message = "what is in front of the books impairs trading"
  }
}

run "sixty_four_shards_of_containers" {
  command = plan
  variables {
    queues    = { for name in concat(["requests", "push"], flatten([for i in range(64) : [for c in ["commands", "market-data", "trade-recorder", "settler"] : "${c}-${format("%03d", i)}"]])) : name => name }
    functions = {}
  }
  assert {
    condition     = strcontains(aws_cloudwatch_composite_alarm.trading.alarm_rule, "venue-age-commands-063")
    error_message = "the last shard has its alarm"
  }
}
