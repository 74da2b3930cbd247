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
  shards            = 3
  event_source      = "exchange.edge"
  event_detail_type = "Request"
  consumers         = { market-data = {}, trade-recorder = {}, settler = {} }
}

run "in_order_and_encrypted" {
  command = plan
  assert {
    condition     = length(aws_sqs_queue.commands) == 3 && length(aws_sns_topic.events) == 3 && length(aws_sqs_queue.consumer) == 9 && length(aws_sns_topic_subscription.consumer) == 9
    error_message = "a command queue and a topic a shard, a queue a consumer and shard"
  }
  assert {
    condition = alltrue([for q in concat(values(aws_sqs_queue.commands), values(aws_sqs_queue.consumer), [aws_sqs_queue.push]) :
    q.fifo_queue && q.deduplication_scope == "messageGroup" && q.fifo_throughput_limit == "perMessageGroupId" && q.kms_master_key_id == var.kms_key_arn])
    error_message = "queues are FIFO, high throughput, encrypted"
  }
  assert {
    condition     = aws_sqs_queue.dead_requests.kms_master_key_id == var.kms_key_arn && aws_sqs_queue.requests.kms_master_key_id == var.kms_key_arn && alltrue([for t in aws_sns_topic.events : t.kms_master_key_id == var.kms_key_arn && t.fifo_topic])
    error_message = "topics are FIFO, and all is encrypted"
  }
  assert {
    condition     = aws_cloudwatch_event_target.requests.retry_policy[0].maximum_event_age_in_seconds <= 900
    error_message = "no request comes to the queue after the dedup window has forgotten it"
  }
}

run "a_missing_consumer_is_refused" {
  command = plan
  variables {
    consumers = { market-data = {} }
  }
  expect_failures = [var.consumers]
}
