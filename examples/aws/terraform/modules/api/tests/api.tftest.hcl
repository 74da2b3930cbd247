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
  openapi           = "../../../../internal/api/openapi.yaml"
  bus               = { name = "venue-requests", arn = "arn:aws:events:eu-central-1:123456789012:event-bus/venue-requests" }
  event_source      = "exchange.edge"
  event_detail_type = "Request"
  functions = {
    api        = { name = "venue-api", arn = "arn:aws:lambda:eu-central-1:123456789012:function:venue-api:live", invoke_arn = "arn:api" }
    authorizer = { name = "venue-authorizer", arn = "arn:aws:lambda:eu-central-1:123456789012:function:venue-authorizer:live", invoke_arn = "arn:authorizer" }
    websocket  = { name = "venue-websocket", arn = "arn:aws:lambda:eu-central-1:123456789012:function:venue-websocket:live", invoke_arn = "arn:websocket" }
  }
}

# With an override the role's ARN is known, and so is the whole document.
override_resource {
  target          = aws_iam_role.events
  override_during = plan
  values          = { arn = "arn:aws:iam::123456789012:role/venue-api-events" }
}

run "from_the_document" {
  command = plan
  assert {
    condition     = jsondecode(output.body).paths["/orders"].post["x-amazon-apigateway-integration"].uri == "arn:aws:apigateway:eu-central-1:events:action/PutEvents"
    error_message = "a new order goes to the bus directly"
  }
  assert {
    condition     = jsondecode(output.body).paths["/orders"].post["x-amazon-apigateway-integration"].responses["default"].statusCode == "503"
    error_message = "what the bus does not take is a 503"
  }
  assert {
    condition     = strcontains(jsondecode(output.body).paths["/orders"].post["x-amazon-apigateway-integration"].responses["2\\d{2}"].responseTemplates["application/json"], "responseOverride.status = 503")
    error_message = "a FailedEntryCount other than 0 is a 503"
  }
  assert {
    condition     = jsondecode(output.body).paths["/orders"].post["x-amazon-apigateway-request-validator"] == "body" && contains(keys(jsondecode(output.body).components.schemas), "NewOrder")
    error_message = "a new order's body is validated"
  }
  assert {
    condition     = alltrue([for r in regexall("#/components/schemas/([A-Za-z]+)", output.body) : contains(keys(jsondecode(output.body).components.schemas), r[0])])
    error_message = "API Gateway imports no reference to a schema that is not there"
  }
  assert {
    condition     = jsondecode(output.body).components.schemas.Decimal.maxLength == 64 && !strcontains(output.body, "\"example\"")
    error_message = "schemas are as in the document, without examples"
  }
  assert {
    condition     = jsondecode(output.body).paths["/orders/{id}"].get["x-amazon-apigateway-integration"].type == "aws_proxy" && jsondecode(output.body).paths["/orders/{id}"].get.parameters[0].name == "id"
    error_message = "reads go to the function"
  }
  assert {
    condition     = alltrue([for path in ["/orders", "/orders/{id}", "/fills", "/balances"] : alltrue([for op in values(jsondecode(output.body).paths[path]) : length(op.security) == 1])])
    error_message = "what is an account's own asks the authorizer"
  }
  assert {
    condition     = !contains(keys(jsondecode(output.body).paths), "/demo/login")
    error_message = "nobody logs in without a token"
  }
  assert {
    condition     = aws_apigatewayv2_route.websocket["$connect"].authorization_type == "CUSTOM"
    error_message = "connecting asks the authorizer"
  }
  assert {
    condition     = aws_apigatewayv2_stage.websocket.default_route_settings[0].throttling_rate_limit == 1000 && aws_api_gateway_method_settings.all.settings[0].throttling_rate_limit == 1000
    error_message = "both APIs are throttled"
  }
  assert {
    condition     = !aws_api_gateway_method_settings.all.settings[0].data_trace_enabled && !strcontains(aws_api_gateway_stage.this.access_log_settings[0].format, "authorizer")
    error_message = "tokens and accounts stay out of the logs"
  }
  assert {
    condition     = !aws_api_gateway_stage.this.cache_cluster_enabled && length(aws_api_gateway_method_settings.cached) == 0
    error_message = "no cache unless asked for"
  }
}

run "a_partner_has_a_key" {
  command = plan
  variables {
    partners         = ["acme"]
    api_key_required = true
  }
  assert {
    condition     = jsondecode(output.body).paths["/orders"].post.security == [{ token = [], api_key = [] }] && length(jsondecode(output.body).paths["/products"].get.security) == 0
    error_message = "what needs a token needs a key too, or the usage plan holds for nothing"
  }
  assert {
    condition     = jsondecode(output.body).components.securitySchemes.api_key.name == "x-api-key" && toset(keys(aws_api_gateway_usage_plan_key.partner)) == toset(["acme"])
    error_message = "the key is in the usage plan"
  }
}

run "cached" {
  command = plan
  variables {
    cache_gb = 0.5
  }
  assert {
    condition = aws_api_gateway_stage.this.cache_cluster_size == "0.5" && toset([for s in aws_api_gateway_method_settings.cached : s.method_path]) == toset([
      "~1products/GET", "~1products~1{symbol}/GET", "~1products~1{symbol}~1book/GET", "~1products~1{symbol}~1ticker/GET", "~1products~1{symbol}~1trades/GET", "~1products~1{symbol}~1candles/GET",
    ])
    error_message = "what everybody sees is cached, and nothing else"
  }
  assert {
    condition     = toset(jsondecode(output.body).paths["/products/{symbol}/candles"].get["x-amazon-apigateway-integration"].cacheKeyParameters) == toset(["method.request.path.symbol", "method.request.querystring.interval", "method.request.querystring.limit", "method.request.querystring.before"])
    error_message = "an answer comes from the cache only for the same question"
  }
  assert {
    condition = alltrue(flatten([for path, item in jsondecode(output.body).paths : [for op in values(item) : [
      for k in try(op["x-amazon-apigateway-integration"].cacheKeyParameters, []) : contains([for p in op.parameters : "method.request.${p.in == "path" ? "path" : "querystring"}.${p.name}"], k)
    ]]]))
    error_message = "a method declares the parameters of its cache key"
  }
  assert {
    condition     = alltrue([for path in ["/orders", "/orders/{id}", "/fills", "/balances"] : alltrue([for op in values(jsondecode(output.body).paths[path]) : !can(op["x-amazon-apigateway-integration"].cacheKeyParameters)])])
    error_message = "what is an account's own is not cached"
  }
}
