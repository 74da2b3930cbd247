# What each function is told and what it may do. The variables of each are those
# that the Go code names (contract.json); a name that is missing here fails the
# plan.

locals {
  namespace = "Exchange"

  # Services sign in with their role: no URL has a password. RDS Proxy's certificate
  # is one that every system trusts, so who answers is checked as well.
  redis = "rediss://${module.data.cache.user}@${module.data.cache.address}?iam=${module.data.cache.id}"
  database = [for c in module.data.aurora : {
    writer = "postgres://${c.user}@${c.writer}:5432/${c.database}?sslmode=verify-full&iam=true"
    reader = "postgres://${c.user}@${c.reader}:5432/${c.database}?sslmode=verify-full&iam=true"
  }]

  values = {
    LOG_LEVEL           = "INFO"
    METRICS_NAMESPACE   = local.namespace
    JOURNAL_TABLE       = module.data.tables["journal"].name
    BALANCES_TABLE      = module.data.tables["balances"].name
    CONNECTIONS_TABLE   = module.data.tables["connections"].name
    ARCHIVE_BUCKET      = module.data.archive.bucket
    REDIS_URL           = local.redis
    DATABASE_URL        = join(",", local.database[*].writer)
    DATABASE_READER_URL = join(",", local.database[*].reader)
    EVENT_BUS           = module.messaging.bus.name
    COMMAND_QUEUES      = join(",", module.messaging.commands[*].url)
    EVENTS_TOPICS       = join(",", module.messaging.topics)
    MARKET_DATA_QUEUES  = join(",", module.messaging.consumers["market-data"][*].url)
    RECORDER_QUEUES     = join(",", module.messaging.consumers["trade-recorder"][*].url)
    SETTLER_QUEUES      = join(",", module.messaging.consumers["settler"][*].url)
    PUSH_QUEUE          = module.messaging.push.url
    WEBSOCKET_ENDPOINT  = module.api.websocket.management
    RISK_FUNCTION       = "${var.name}-risk-checker:live"
    TOKEN_PUBLIC_KEY    = var.token_public_key
    DAY_END             = var.day_end
  }

  # --- what may be done, by what it is done to ---

  may = {
    read_journal   = { sid = "ReadJournal", actions = ["dynamodb:GetItem", "dynamodb:Query"], resources = [module.data.tables["journal"].arn] }
    write_journal  = { sid = "WriteJournal", actions = ["dynamodb:BatchGetItem", "dynamodb:BatchWriteItem", "dynamodb:ConditionCheckItem", "dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"], resources = [module.data.tables["journal"].arn] }
    read_balances  = { sid = "ReadBalances", actions = ["dynamodb:GetItem", "dynamodb:Query"], resources = [module.data.tables["balances"].arn, "${module.data.tables["balances"].arn}/index/placed"] }
    write_balances = { sid = "WriteBalances", actions = ["dynamodb:BatchGetItem", "dynamodb:ConditionCheckItem", "dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"], resources = [module.data.tables["balances"].arn, "${module.data.tables["balances"].arn}/index/placed"] }
    connections    = { sid = "Connections", actions = ["dynamodb:BatchGetItem", "dynamodb:BatchWriteItem", "dynamodb:ConditionCheckItem", "dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"], resources = [module.data.tables["connections"].arn] }
    archive        = { sid = "Archive", actions = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:ListBucket", "s3:PutObject"], resources = [module.data.archive.arn, "${module.data.archive.arn}/*"] }
    redis          = { sid = "Cache", actions = ["elasticache:Connect"], resources = [module.data.cache.arn, module.data.cache.user_arn] }
    database       = { sid = "Database", actions = ["rds-db:connect"], resources = module.data.aurora[*].connect }
    bus            = { sid = "Requests", actions = ["events:PutEvents"], resources = [module.messaging.bus.arn] }
    commands       = { sid = "Commands", actions = ["sqs:SendMessage"], resources = module.messaging.commands[*].arn }
    publish        = { sid = "Publish", actions = ["sns:Publish"], resources = module.messaging.topics }
    wake_market    = { sid = "WakeMarketData", actions = ["sqs:SendMessage"], resources = module.messaging.consumers["market-data"][*].arn }
    push           = { sid = "Push", actions = ["sqs:SendMessage"], resources = [module.messaging.push.arn] }
    post           = { sid = "Post", actions = ["execute-api:ManageConnections"], resources = [module.api.websocket.manage, replace(module.api.websocket.manage, "/POST/", "/DELETE/")] }
    risk           = { sid = "RiskChecker", actions = ["lambda:InvokeFunction"], resources = ["arn:${data.aws_partition.here.partition}:lambda:${data.aws_region.here.name}:${data.aws_caller_identity.me.account_id}:function:${var.name}-risk-checker:live"] }
  }

  queue = { # the sources of the functions that follow a queue, by shard
    commands       = { for i, shard in local.shards : shard => module.messaging.commands[i].arn }
    market-data    = { for i, shard in local.shards : shard => module.messaging.consumers["market-data"][i].arn }
    trade-recorder = { for i, shard in local.shards : shard => module.messaging.consumers["trade-recorder"][i].arn }
    settler        = { for i, shard in local.shards : shard => module.messaging.consumers["settler"][i].arn }
  }

  # The four that API Gateway calls, or that call it, stay functions whatever
  # runs the services.
  edge_functions = {
    authorizer = { may = [], timeout = 5 }
    api        = { may = ["bus", "read_journal", "read_balances", "database", "redis"], timeout = 10 }
    websocket  = { may = ["connections", "wake_market"], timeout = 10 }
    # The only one outside the VPC: an interface endpoint for API Gateway reaches
    # private APIs, not a WebSocket API's @connections. It touches its queue and
    # the table of connections, nothing else.
    push = { may = ["connections", "post"], timeout = 30, private = false, queues = { push = module.messaging.push.arn } }
  }

  service_functions = merge(
    {
      order-processor = { may = ["risk"], queues = { requests = module.messaging.requests.arn } }
      risk-checker    = { may = ["write_balances", "commands", "database", "redis"], timeout = 10 }
      sweeper         = { may = ["write_journal", "write_balances", "connections", "archive", "database", "commands", "publish"], timeout = 60 }
    },
    # What follows an instrument has a function a shard, so that what it knows of
    # its books stays warm: two batches at once are the least a queue gives.
    merge([for shard in local.shards : {
      "matching-engine-${shard}" = { zip = "matching-engine", may = ["write_journal", "archive", "redis", "publish"], memory = 1769, concurrency = 2, queues = { (shard) = local.queue.commands[shard] } }
      "market-data-${shard}"     = { zip = "market-data", may = ["read_journal", "read_balances", "connections", "database", "redis", "push"], concurrency = 2, queues = { (shard) = local.queue.market-data[shard] } }
      "trade-recorder-${shard}"  = { zip = "trade-recorder", may = ["read_journal", "database", "archive"], concurrency = 2, queues = { (shard) = local.queue.trade-recorder[shard] } }
      "settler-${shard}"         = { zip = "settler", may = ["read_journal", "write_balances", "connections", "push"], concurrency = 2, queues = { (shard) = local.queue.settler[shard] } }
    }]...),
  )

  chosen = merge({ for name, f in local.edge_functions : name => f }, { for name, f in local.service_functions : name => f if local.lambda })

  # lookup, not try: try of a value that is not known yet is not known at all.
  functions = { for name, f in local.chosen : name => {
    zip         = lookup(f, "zip", name)
    environment = { for v in local.contract.functions[lookup(f, "zip", name)].variables : v => local.values[v] }
    statements  = [for key in f.may : local.may[key]]
    private     = lookup(f, "private", true)
    timeout     = lookup(f, "timeout", 30)
    memory      = lookup(f, "memory", 512)
    reserved    = lookup(var.reserved, lookup(f, "zip", name), null)
    provisioned = lookup(var.provisioned, lookup(f, "zip", name), 0)
    queues      = { for queue, arn in lookup(f, "queues", {}) : queue => { arn = arn, concurrency = lookup(f, "concurrency", var.concurrency) } }
  } }
}

# --- the sweeper's clock ---

data "aws_iam_policy_document" "scheduler_assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["scheduler.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.me.account_id]
    }
  }
}

locals {
  scheduled = { for name, minutes in { sweeper = var.sweep_minutes, push = 1 } : name => minutes if contains(keys(local.functions), name) }
}

data "aws_iam_policy_document" "scheduler" {
  statement {
    actions   = ["lambda:InvokeFunction"]
    resources = [for name in keys(local.scheduled) : module.compute.functions[name].arn]
  }
  statement { # the schedules are encrypted with it
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.this.arn]
  }
}

resource "aws_iam_role" "scheduler" {
  name               = "${var.name}-scheduler"
  assume_role_policy = data.aws_iam_policy_document.scheduler_assume.json
}

resource "aws_iam_role_policy" "scheduler" {
  role   = aws_iam_role.scheduler.id
  policy = data.aws_iam_policy_document.scheduler.json
}

# The sweeper brings the time to quiet books and looks after what was left
# behind; push sends heartbeats. A pass that was missed is made by the next one.
resource "aws_scheduler_schedule" "this" {
  for_each            = local.scheduled
  name                = "${var.name}-${each.key}"
  schedule_expression = each.value == 1 ? "rate(1 minute)" : "rate(${each.value} minutes)"
  kms_key_arn         = aws_kms_key.this.arn

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = module.compute.functions[each.key].arn
    role_arn = aws_iam_role.scheduler.arn
    retry_policy {
      maximum_retry_attempts       = 0
      maximum_event_age_in_seconds = 60
    }
  }
}
