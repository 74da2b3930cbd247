output "rest" {
  description = "The REST API: id, name, stage and the stage's ARN."
  value = {
    id        = aws_api_gateway_rest_api.this.id
    name      = aws_api_gateway_rest_api.this.name
    stage     = aws_api_gateway_stage.this.stage_name
    stage_arn = aws_api_gateway_stage.this.arn
  }
}

output "websocket" {
  description = "The WebSocket API: id, stage, where connections are posted to, and the ARN that execute-api:ManageConnections names."
  value = {
    id         = aws_apigatewayv2_api.websocket.id
    stage      = aws_apigatewayv2_stage.websocket.name
    management = "https://${aws_apigatewayv2_api.websocket.id}.execute-api.${data.aws_region.here.name}.amazonaws.com/${aws_apigatewayv2_stage.websocket.name}"
    manage     = "${aws_apigatewayv2_api.websocket.execution_arn}/${aws_apigatewayv2_stage.websocket.name}/POST/@connections/*"
  }
}

output "body" {
  description = "What the REST API was made from."
  value       = local.body
}
