data "aws_caller_identity" "me" {}

locals {
  shards = [for i in range(var.shards) : format("%03d", i)]
  pairs  = merge([for consumer, c in var.consumers : { for shard in local.shards : "${consumer}-${shard}" => { consumer = consumer, shard = shard, filter = c.filter } }]...)
}

# --- requests ---

resource "aws_cloudwatch_event_bus" "requests" {
  name               = "${var.name}-requests"
  kms_key_identifier = var.kms_key_arn
}

# Encrypted by a key of AWS: provider 5 cannot name another.
resource "aws_cloudwatch_event_archive" "requests" {
  name             = "${var.name}-requests"
  event_source_arn = aws_cloudwatch_event_bus.requests.arn
  retention_days   = var.event_archive_days
  event_pattern    = local.pattern
}

locals {
  pattern = jsonencode({ source = [var.event_source], "detail-type" = [var.event_detail_type] })
}

resource "aws_cloudwatch_event_rule" "requests" {
  name           = "${var.name}-requests"
  description    = "Requests of clients, to the order processor"
  event_bus_name = aws_cloudwatch_event_bus.requests.name
  event_pattern  = local.pattern
}

# The rule puts requests on a standard queue, from which the order processor
# takes them in batches: requests have no order that it could break, and none is
# lost after a few tries, as one that invokes a function directly may be.
resource "aws_sqs_queue" "requests" {
  name                       = "${var.name}-requests"
  kms_master_key_id          = var.kms_key_arn
  visibility_timeout_seconds = var.visibility_seconds
  message_retention_seconds  = 1209600
  redrive_policy             = jsonencode({ deadLetterTargetArn = aws_sqs_queue.dead_requests.arn, maxReceiveCount = 1000 })
}

resource "aws_cloudwatch_event_target" "requests" {
  rule           = aws_cloudwatch_event_rule.requests.name
  event_bus_name = aws_cloudwatch_event_bus.requests.name
  target_id      = "requests"
  arn            = aws_sqs_queue.requests.arn

  retry_policy {
    maximum_event_age_in_seconds = var.request_age_seconds
    maximum_retry_attempts       = 185
  }

  dead_letter_config {
    arn = aws_sqs_queue.dead_requests.arn
  }
}

# What could not be delivered in time. Requests may come in any order, so a
# dead-letter queue breaks nothing here.
resource "aws_sqs_queue" "dead_requests" {
  name                      = "${var.name}-requests-dead"
  kms_master_key_id         = var.kms_key_arn
  message_retention_seconds = 1209600
}

data "aws_iam_policy_document" "from_rule" {
  for_each = { dead = aws_sqs_queue.dead_requests.arn, requests = aws_sqs_queue.requests.arn }
  statement {
    sid       = "FromTheRule"
    actions   = ["sqs:SendMessage"]
    resources = [each.value]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_cloudwatch_event_rule.requests.arn]
    }
  }
  statement {
    sid       = "TLSOnly"
    effect    = "Deny"
    actions   = ["sqs:ReceiveMessage", "sqs:SendMessage"]
    resources = [each.value]
    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_sqs_queue_policy" "dead_requests" {
  queue_url = aws_sqs_queue.dead_requests.id
  policy    = data.aws_iam_policy_document.from_rule["dead"].json
}

resource "aws_sqs_queue_policy" "requests" {
  queue_url = aws_sqs_queue.requests.id
  policy    = data.aws_iam_policy_document.from_rule["requests"].json
}

# --- commands ---

# One message group per instrument. There is no dead-letter queue: taking one
# command out of the middle would let the next ones overtake it. A command that
# cannot be handled stops its instrument, and the alarm on the age of the oldest
# message says so.
resource "aws_sqs_queue" "commands" {
  for_each                    = toset(local.shards)
  name                        = "${var.name}-commands-${each.key}.fifo"
  fifo_queue                  = true
  content_based_deduplication = false # the command's id is its deduplication id
  deduplication_scope         = "messageGroup"
  fifo_throughput_limit       = "perMessageGroupId"
  kms_master_key_id           = var.kms_key_arn
  visibility_timeout_seconds  = var.visibility_seconds
  message_retention_seconds   = 1209600
}

# --- committed events ---

resource "aws_sns_topic" "events" {
  for_each                    = toset(local.shards)
  name                        = "${var.name}-events-${each.key}.fifo"
  fifo_topic                  = true
  fifo_throughput_scope       = "MessageGroup"
  content_based_deduplication = false
  kms_master_key_id           = var.kms_key_arn
}

data "aws_iam_policy_document" "topic" {
  for_each = aws_sns_topic.events
  statement {
    sid       = "OwnSubscribers"
    actions   = ["sns:Publish", "sns:Subscribe"]
    resources = [each.value.arn]
    principals {
      type        = "AWS"
      identifiers = [data.aws_caller_identity.me.account_id]
    }
  }
  statement {
    sid       = "TLSOnly"
    effect    = "Deny"
    actions   = ["sns:Publish"]
    resources = [each.value.arn]
    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_sns_topic_policy" "events" {
  for_each = aws_sns_topic.events
  arn      = each.value.arn
  policy   = data.aws_iam_policy_document.topic[each.key].json
}

# One queue per consumer and shard, in order per instrument, again without a
# dead-letter queue: a consumer follows the journal without a gap.
resource "aws_sqs_queue" "consumer" {
  for_each                    = local.pairs
  name                        = "${var.name}-${each.key}.fifo"
  fifo_queue                  = true
  content_based_deduplication = false
  deduplication_scope         = "messageGroup"
  fifo_throughput_limit       = "perMessageGroupId"
  kms_master_key_id           = var.kms_key_arn
  visibility_timeout_seconds  = var.visibility_seconds
  message_retention_seconds   = 1209600
}

data "aws_iam_policy_document" "consumer" {
  for_each = local.pairs
  statement {
    sid       = "FromTheTopic"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.consumer[each.key].arn]
    principals {
      type        = "Service"
      identifiers = ["sns.amazonaws.com"]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_sns_topic.events[each.value.shard].arn]
    }
  }
  statement {
    sid       = "TLSOnly"
    effect    = "Deny"
    actions   = ["sqs:ReceiveMessage", "sqs:SendMessage"]
    resources = [aws_sqs_queue.consumer[each.key].arn]
    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_sqs_queue_policy" "consumer" {
  for_each  = aws_sqs_queue.consumer
  queue_url = each.value.id
  policy    = data.aws_iam_policy_document.consumer[each.key].json
}

resource "aws_sns_topic_subscription" "consumer" {
  for_each             = local.pairs
  topic_arn            = aws_sns_topic.events[each.value.shard].arn
  protocol             = "sqs"
  endpoint             = aws_sqs_queue.consumer[each.key].arn
  raw_message_delivery = true
  filter_policy        = each.value.filter
  filter_policy_scope  = each.value.filter == null ? null : "MessageAttributes"
  depends_on           = [aws_sqs_queue_policy.consumer]
}

# --- pushes ---

# What is on its way to clients. A client that misses one sees the gap and asks
# again, so old ones are dropped rather than kept.
resource "aws_sqs_queue" "push" {
  name                        = "${var.name}-push.fifo"
  fifo_queue                  = true
  content_based_deduplication = false
  deduplication_scope         = "messageGroup"
  fifo_throughput_limit       = "perMessageGroupId"
  kms_master_key_id           = var.kms_key_arn
  visibility_timeout_seconds  = var.visibility_seconds
  message_retention_seconds   = 300
}

data "aws_iam_policy_document" "tls" {
  for_each = merge({ push = aws_sqs_queue.push.arn }, { for shard, q in aws_sqs_queue.commands : "commands-${shard}" => q.arn })
  statement {
    sid       = "TLSOnly"
    effect    = "Deny"
    actions   = ["sqs:ReceiveMessage", "sqs:SendMessage"]
    resources = [each.value]
    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_sqs_queue_policy" "push" {
  queue_url = aws_sqs_queue.push.id
  policy    = data.aws_iam_policy_document.tls["push"].json
}

resource "aws_sqs_queue_policy" "commands" {
  for_each  = aws_sqs_queue.commands
  queue_url = each.value.id
  policy    = data.aws_iam_policy_document.tls["commands-${each.key}"].json
}
