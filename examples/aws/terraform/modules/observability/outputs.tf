output "alarm_topic_arn" {
  description = "Topic that every alarm goes to."
  value       = aws_sns_topic.alarms.arn
}

output "alarms" {
  description = "Names of the alarms, for the runbook and the test that compares them."
  value = sort(concat(
    [for a in aws_cloudwatch_metric_alarm.latency : a.alarm_name],
    [for a in aws_cloudwatch_metric_alarm.never : a.alarm_name],
    [for a in aws_cloudwatch_metric_alarm.message_age : a.alarm_name],
    [for a in aws_cloudwatch_metric_alarm.dead_letters : a.alarm_name],
    [for a in aws_cloudwatch_metric_alarm.function : a.alarm_name],
    [for a in aws_cloudwatch_metric_alarm.aurora_cpu : a.alarm_name],
    [for a in aws_cloudwatch_metric_alarm.cache_memory : a.alarm_name],
    [for a in aws_cloudwatch_metric_alarm.table_throttles : a.alarm_name],
    [for a in aws_cloudwatch_metric_alarm.logged_errors : a.alarm_name],
    [aws_cloudwatch_metric_alarm.health.alarm_name, aws_cloudwatch_composite_alarm.trading.alarm_name],
  ))
}

output "dashboard" {
  description = "Body of the dashboard."
  value       = aws_cloudwatch_dashboard.this.dashboard_body
}
