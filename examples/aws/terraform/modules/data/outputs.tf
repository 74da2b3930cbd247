output "tables" {
  description = "Name and ARN of each table, by what it is for."
  value       = { for key, t in aws_dynamodb_table.this : key => { name = t.name, arn = t.arn } }
}

output "archive" {
  description = "Bucket of the archive."
  value       = { bucket = aws_s3_bucket.archive.bucket, arn = aws_s3_bucket.archive.arn }
}

output "cache" {
  description = "ElastiCache: address of the configuration endpoint, the user that services sign in as, ARNs that elasticache:Connect names, its nodes."
  value = {
    address  = "${aws_elasticache_replication_group.this.configuration_endpoint_address}:6379"
    id       = aws_elasticache_replication_group.this.replication_group_id
    user     = aws_elasticache_user.services.user_name
    arn      = aws_elasticache_replication_group.this.arn
    user_arn = aws_elasticache_user.services.arn
    nodes    = flatten([for shard in range(1, var.cache_shards + 1) : [for n in range(1, var.cache_replicas + 2) : format("%s-%04d-%03d", var.name, shard, n)]])
  }
}

output "aurora" {
  description = "Clusters in the order of the shards of accounts: proxy endpoints of writer and readers, database, user, and the ARN that rds-db:connect names."
  value = [for key in sort(keys(local.clusters)) : {
    id       = aws_rds_cluster.this[key].cluster_identifier
    writer   = aws_db_proxy.this[key].endpoint
    reader   = aws_db_proxy_endpoint.reader[key].endpoint
    database = aws_rds_cluster.this[key].database_name
    user     = aws_rds_cluster.this[key].master_username
    connect = format("arn:%s:rds-db:%s:%s:dbuser:%s/%s", data.aws_partition.here.partition, data.aws_region.here.name, data.aws_caller_identity.me.account_id,
    reverse(split(":", aws_db_proxy.this[key].arn))[0], aws_rds_cluster.this[key].master_username)
  }]
}
