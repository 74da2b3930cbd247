output "bus" {
  description = "Bus of the requests."
  value       = { name = aws_cloudwatch_event_bus.requests.name, arn = aws_cloudwatch_event_bus.requests.arn }
}

output "requests" {
  description = "Queue of the requests."
  value       = { url = aws_sqs_queue.requests.url, arn = aws_sqs_queue.requests.arn, name = aws_sqs_queue.requests.name }
}

output "commands" {
  description = "Command queues in the order of the shards."
  value       = [for shard in local.shards : { url = aws_sqs_queue.commands[shard].url, arn = aws_sqs_queue.commands[shard].arn, name = aws_sqs_queue.commands[shard].name }]
}

output "topics" {
  description = "ARNs of the topics of committed events, in the order of the shards."
  value       = [for shard in local.shards : aws_sns_topic.events[shard].arn]
}

output "consumers" {
  description = "Queues of each consumer, in the order of the shards."
  value = { for consumer in keys(var.consumers) : consumer => [
    for shard in local.shards : { url = aws_sqs_queue.consumer["${consumer}-${shard}"].url, arn = aws_sqs_queue.consumer["${consumer}-${shard}"].arn, name = aws_sqs_queue.consumer["${consumer}-${shard}"].name }
  ] }
}

output "push" {
  description = "Queue of what is on its way to clients."
  value       = { url = aws_sqs_queue.push.url, arn = aws_sqs_queue.push.arn, name = aws_sqs_queue.push.name }
}

output "dead_queues" {
  description = "Names of the dead-letter queues."
  value       = [aws_sqs_queue.dead_requests.name]
}
