output "functions" {
  description = "Each function: its name, the ARN and the invocation ARN of its live alias, its log group, whether it is private."
  value = { for name, f in aws_lambda_function.this : name => {
    name       = f.function_name
    arn        = aws_lambda_alias.live[name].arn
    invoke_arn = aws_lambda_alias.live[name].invoke_arn
    log_group  = aws_cloudwatch_log_group.this[name].name
    private    = var.functions[name].private
  } }
}
