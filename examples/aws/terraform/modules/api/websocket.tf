# The WebSocket API. It has no cache, since every message is pushed once: what
# everybody asks for at first, the snapshot, the function reads from the book
# store.

resource "aws_apigatewayv2_api" "websocket" {
  name                       = "${var.name}-ws"
  protocol_type              = "WEBSOCKET"
  route_selection_expression = "$request.body.op"
}

resource "aws_apigatewayv2_integration" "websocket" {
  api_id                    = aws_apigatewayv2_api.websocket.id
  integration_type          = "AWS_PROXY"
  integration_uri           = var.functions.websocket.invoke_arn
  content_handling_strategy = "CONVERT_TO_TEXT"
}

# Asked at every connection, also one without a token, which may see what is
# public.
resource "aws_apigatewayv2_authorizer" "websocket" {
  api_id          = aws_apigatewayv2_api.websocket.id
  name            = "token"
  authorizer_type = "REQUEST"
  authorizer_uri  = var.functions.authorizer.invoke_arn
}

resource "aws_apigatewayv2_route" "websocket" {
  for_each           = toset(["$connect", "$disconnect", "$default"])
  api_id             = aws_apigatewayv2_api.websocket.id
  route_key          = each.key
  target             = "integrations/${aws_apigatewayv2_integration.websocket.id}"
  authorization_type = each.key == "$connect" ? "CUSTOM" : "NONE"
  authorizer_id      = each.key == "$connect" ? aws_apigatewayv2_authorizer.websocket.id : null
}

resource "aws_cloudwatch_log_group" "websocket" {
  name              = "/${var.name}/websocket"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_apigatewayv2_stage" "websocket" {
  api_id      = aws_apigatewayv2_api.websocket.id
  name        = "ws" # the path that the page connects to
  auto_deploy = true

  default_route_settings {
    detailed_metrics_enabled = true
    logging_level            = "ERROR"
    data_trace_enabled       = false
    throttling_rate_limit    = var.throttle.websocket_rate
    throttling_burst_limit   = var.throttle.websocket_burst
  }

  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.websocket.arn
    format          = jsonencode({ id = "$context.requestId", time = "$context.requestTimeEpoch", route = "$context.routeKey", status = "$context.status", error = "$context.error.responseType" })
  }
  depends_on = [aws_api_gateway_account.this]
}

resource "aws_lambda_permission" "websocket" {
  for_each      = { websocket = "/*/*", authorizer = "/authorizers/*" }
  statement_id  = "WebSocketApi"
  action        = "lambda:InvokeFunction"
  function_name = var.functions[each.key].name
  qualifier     = "live"
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.websocket.execution_arn}${each.value}"
}
