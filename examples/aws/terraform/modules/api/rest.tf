# The REST API, made from the OpenAPI document: its operations, and the schemas
# that bodies are validated by. New orders and cancel-all go to the bus without a
# function in between. What names one order goes through the api function, which
# finds its instrument; reads go there too.

data "aws_region" "here" {}
data "aws_partition" "here" {}
data "aws_caller_identity" "me" {}

locals {
  document = yamldecode(file(var.openapi))

  stage = "v1"

  # By operationId: what becomes of the request.
  direct = {
    newOrder  = "new_order.vtl"
    cancelAll = "cancel_all.vtl"
  }

  # Only for programs that speak the local venue's login.
  left_out = ["listDemoAccounts", "demoLogin"]

  methods = ["get", "post", "put", "patch", "delete"]
  operations = merge([for path, item in local.document.paths : {
    for method, op in item : "${method} ${path}" => { path = path, method = method, op = op }
    if contains(local.methods, method) && !contains(local.left_out, try(op.operationId, ""))
  }]...)

  # The names of an operation's parameters. A cache key can only name those that
  # the method declares.
  in_path  = { for key, o in local.operations : key => [for p in regexall("\\{([a-z_]+)\\}", o.path) : p[0]] }
  in_query = { for key, o in local.operations : key => [for p in [for p in try(o.op.parameters, []) : try(local.document.components.parameters[reverse(split("/", p["$ref"]))[0]], p)] : p.name if p["in"] == "query"] }

  templates = { for id, file in local.direct : id => templatefile("${path.module}/${file}", {
    bus         = var.bus.name
    source      = var.event_source
    detail_type = var.event_detail_type
  }) }

  integrations = { for key, o in local.operations : key => contains(keys(local.direct), o.op.operationId) ? jsonencode({
    type                = "aws"
    httpMethod          = "POST"
    uri                 = "arn:${data.aws_partition.here.partition}:apigateway:${data.aws_region.here.name}:events:action/PutEvents"
    credentials         = aws_iam_role.events.arn
    passthroughBehavior = "never"
    timeoutInMillis     = 5000
    requestParameters = {
      "integration.request.header.X-Amz-Target" = "'AWSEvents.PutEvents'"
      "integration.request.header.Content-Type" = "'application/x-amz-json-1.1'"
    }
    requestTemplates = { "application/json" = local.templates[o.op.operationId] }
    responses = {
      default   = { statusCode = "503", responseTemplates = { "application/json" = file("${path.module}/unavailable.vtl") } }
      "2\\d{2}" = { statusCode = "202", responseTemplates = { "application/json" = file("${path.module}/put_events.vtl") } }
    }
    }) : jsonencode(merge({
      type            = "aws_proxy"
      httpMethod      = "POST"
      uri             = var.functions.api.invoke_arn
      timeoutInMillis = 10000
      }, contains(local.cached, o.op.operationId) ? {
      # All that makes one answer another: without these a cached book of one
      # product would be the answer for every product.
      cacheKeyParameters = concat([for p in local.in_path[key] : "method.request.path.${p}"], [for p in local.in_query[key] : "method.request.querystring.${p}"])
  } : {})) }

  methods_of = { for key, o in local.operations : key => {
    operationId = o.op.operationId
    parameters = concat(
      [for p in local.in_path[key] : { name = p, in = "path", required = true, schema = { type = "string" } }],
      [for p in local.in_query[key] : { name = p, in = "query", required = false, schema = { type = "string" } }],
    )
    requestBody = try(jsondecode(jsonencode(o.op.requestBody)), null)
    security    = [for s in try(o.op.security, []) : var.api_key_required ? merge(s, { api_key = [] }) : s]
    responses = {
      "200" = { description = "done" }
      "202" = { description = "the bus has it" }
      "503" = { description = "not taken; send it again with the same key" }
    }
    "x-amazon-apigateway-request-validator" = "body"
    "x-amazon-apigateway-integration"       = jsondecode(local.integrations[key])
  } }

  body = jsonencode({
    openapi = "3.0.1"
    info    = { title = var.name, version = local.document.info.version }
    paths = { for path in keys(local.document.paths) : path => {
      for key, o in local.operations : o.method => { for k, v in local.methods_of[key] : k => v if v != null } if o.path == path
    } if length([for o in local.operations : o if o.path == path]) > 0 }
    components = {
      schemas = { for name in local.schemas : name => jsondecode(local.plain[name]) }
      securitySchemes = {
        api_key = { type = "apiKey", name = "x-api-key", in = "header" } # of a partner
        token = {
          type                           = "apiKey"
          name                           = "Authorization"
          in                             = "header"
          "x-amazon-apigateway-authtype" = "custom"
          "x-amazon-apigateway-authorizer" = {
            type                         = "request"
            authorizerUri                = var.functions.authorizer.invoke_arn
            authorizerResultTtlInSeconds = 60 # for which a token that has ended is good still
            identitySource               = "method.request.header.Authorization"
          }
        }
      }
    }
    "x-amazon-apigateway-request-validators" = { body = { validateRequestBody = true, validateRequestParameters = true } }
    "x-amazon-apigateway-gateway-responses" = {
      BAD_REQUEST_BODY = { statusCode = 400, responseTemplates = { "application/json" = "{\"code\":\"invalid_field\",\"message\":$context.error.messageString,\"field\":\"\"}" } }
      UNAUTHORIZED     = { statusCode = 401, responseTemplates = { "application/json" = "{\"code\":\"unauthorized\",\"message\":\"no token, or none of this venue\"}" } }
      ACCESS_DENIED    = { statusCode = 401, responseTemplates = { "application/json" = "{\"code\":\"unauthorized\",\"message\":\"no token, or none of this venue\"}" } }
      THROTTLED        = { statusCode = 429, responseTemplates = { "application/json" = "{\"code\":\"rate_limited\",\"message\":\"too many requests\"}" } }
      QUOTA_EXCEEDED   = { statusCode = 429, responseTemplates = { "application/json" = "{\"code\":\"rate_limited\",\"message\":\"the day's requests are used up\"}" } }
    }
  })

  body_schemas = distinct([for o in local.operations : reverse(split("/", o.op.requestBody.content["application/json"].schema["$ref"]))[0] if can(o.op.requestBody)])
  # As text, without examples, which a model of API Gateway has not. The encoder
  # sorts, so that a type always follows one.
  plain = { for name, schema in local.document.components.schemas : name => replace(jsonencode(schema), "/\"example\":\"[^\"]*\",/", "") }
  # Bodies, and what they are made of: a reference to what is not there fails the import.
  schemas = distinct(concat(local.body_schemas, flatten([for name in local.body_schemas : regexall("#/components/schemas/([A-Za-z]+)", local.plain[name])])))
  # What everybody sees, and may come from the cache.
  cached = ["listProducts", "getProduct", "getBook", "getTicker", "listTrades", "listCandles"]
}

# API Gateway puts requests on the bus with this role. It is not known to name
# the account that it acts for when it assumes a role, so no condition asks it
# to; to give it a role takes iam:PassRole in this account.
data "aws_iam_policy_document" "events_assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["apigateway.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "events" {
  statement {
    actions   = ["events:PutEvents"]
    resources = [var.bus.arn]
    condition {
      test     = "StringEquals"
      variable = "events:source"
      values   = [var.event_source]
    }
  }
  statement {
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [var.kms_key_arn]
  }
}

resource "aws_iam_role" "events" {
  name               = "${var.name}-api-events"
  assume_role_policy = data.aws_iam_policy_document.events_assume.json
}

resource "aws_iam_role_policy" "events" {
  role   = aws_iam_role.events.id
  policy = data.aws_iam_policy_document.events.json
}

resource "aws_api_gateway_rest_api" "this" {
  name                     = var.name
  description              = "REST API of ${var.name}"
  body                     = local.body
  minimum_compression_size = 1024

  endpoint_configuration {
    types = ["REGIONAL"]
  }

  lifecycle {
    precondition {
      condition     = alltrue([for id in keys(local.direct) : contains([for o in local.operations : o.op.operationId], id)])
      error_message = "the OpenAPI document no longer has an operation that goes to the bus directly: ${join(", ", keys(local.direct))}"
    }
  }
}

resource "aws_api_gateway_deployment" "this" {
  rest_api_id = aws_api_gateway_rest_api.this.id
  triggers    = { body = sha256(aws_api_gateway_rest_api.this.body) }
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_cloudwatch_log_group" "rest" {
  name              = "/${var.name}/rest"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

# API Gateway makes it itself when it is not there, and keeps it for ever.
resource "aws_cloudwatch_log_group" "execution" {
  name              = "API-Gateway-Execution-Logs_${aws_api_gateway_rest_api.this.id}/${local.stage}"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

# The caller's account and token are not among the fields.
locals {
  access_log = jsonencode({
    id     = "$context.requestId", time = "$context.requestTimeEpoch", method = "$context.httpMethod", path = "$context.resourcePath",
    status = "$context.status", latency = "$context.responseLatency", integration = "$context.integrationLatency", error = "$context.error.responseType"
  })
}

resource "aws_api_gateway_stage" "this" {
  rest_api_id           = aws_api_gateway_rest_api.this.id
  deployment_id         = aws_api_gateway_deployment.this.id
  stage_name            = local.stage
  xray_tracing_enabled  = true
  cache_cluster_enabled = var.cache_gb > 0
  cache_cluster_size    = var.cache_gb > 0 ? tostring(var.cache_gb) : null

  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.rest.arn
    format          = local.access_log
  }
  depends_on = [aws_api_gateway_account.this, aws_cloudwatch_log_group.execution]
}

resource "aws_api_gateway_method_settings" "all" {
  rest_api_id = aws_api_gateway_rest_api.this.id
  stage_name  = aws_api_gateway_stage.this.stage_name
  method_path = "*/*"
  settings {
    metrics_enabled        = true
    logging_level          = "ERROR"
    data_trace_enabled     = false # bodies and headers stay out of the logs
    throttling_rate_limit  = var.throttle.rate
    throttling_burst_limit = var.throttle.burst
  }
}

resource "aws_api_gateway_method_settings" "cached" {
  for_each    = { for o in values(local.operations) : o.op.operationId => o if var.cache_gb > 0 && contains(local.cached, o.op.operationId) }
  rest_api_id = aws_api_gateway_rest_api.this.id
  stage_name  = aws_api_gateway_stage.this.stage_name
  method_path = "${replace(each.value.path, "/", "~1")}/${upper(each.value.method)}" # as API Gateway names a method: a slash of its path is ~1
  settings {
    metrics_enabled                         = true
    logging_level                           = "ERROR"
    throttling_rate_limit                   = var.throttle.rate
    throttling_burst_limit                  = var.throttle.burst
    caching_enabled                         = true
    cache_ttl_in_seconds                    = 1
    cache_data_encrypted                    = true
    require_authorization_for_cache_control = true
  }
}

# API Gateway writes its logs with one role an account and region.
data "aws_iam_policy_document" "logs" {
  statement {
    actions   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents", "logs:CreateLogGroup", "logs:DescribeLogGroups", "logs:GetLogEvents", "logs:FilterLogEvents"]
    resources = ["arn:${data.aws_partition.here.partition}:logs:${data.aws_region.here.name}:${data.aws_caller_identity.me.account_id}:*"]
  }
}

resource "aws_iam_role" "logs" {
  name               = "${var.name}-api-logs"
  assume_role_policy = data.aws_iam_policy_document.events_assume.json
}

resource "aws_iam_role_policy" "logs" {
  role   = aws_iam_role.logs.id
  policy = data.aws_iam_policy_document.logs.json
}

resource "aws_api_gateway_account" "this" {
  cloudwatch_role_arn = aws_iam_role.logs.arn
  depends_on          = [aws_iam_role_policy.logs]
}

# API Gateway counts and throttles by a key only what requires one: without
# api_key_required the keys have no effect, and the stage's throttle is all.
resource "aws_api_gateway_usage_plan" "this" {
  name        = var.name
  description = "What a partner's key may use"
  api_stages {
    api_id = aws_api_gateway_rest_api.this.id
    stage  = aws_api_gateway_stage.this.stage_name
  }
  throttle_settings {
    rate_limit  = var.throttle.rate
    burst_limit = var.throttle.burst
  }
  quota_settings {
    limit  = var.daily_quota
    period = "DAY"
  }
}

resource "aws_api_gateway_api_key" "partner" {
  for_each = var.partners
  name     = "${var.name}-${each.key}"
}

resource "aws_api_gateway_usage_plan_key" "partner" {
  for_each      = aws_api_gateway_api_key.partner
  key_id        = each.value.id
  key_type      = "API_KEY"
  usage_plan_id = aws_api_gateway_usage_plan.this.id
}

resource "aws_lambda_permission" "rest" {
  for_each      = { api = "/*/*", authorizer = "/authorizers/*" }
  statement_id  = "RestApi"
  action        = "lambda:InvokeFunction"
  function_name = var.functions[each.key].name
  qualifier     = "live"
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_api_gateway_rest_api.this.execution_arn}${each.value}"
}
