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
  name               = "venue"
  kms_key_arn        = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  subnet_ids         = ["subnet-1", "subnet-2"]
  zones              = ["eu-central-1a", "eu-central-1b"]
  security_group_ids = { cache = "sg-1", proxy = "sg-2", database = "sg-3" }
  cache_node_type    = "cache.t4g.small"
  tables = {
    journal  = { hash_key = "pk", range_key = "sk", attributes = { pk = "S", sk = "S" } }
    balances = { hash_key = "pk", range_key = "sk", attributes = { pk = "S", sk = "S", placed = "S" }, ttl = "ttl", indexes = { placed = "placed" } }
  }
}

run "safe_by_default" {
  command = plan
  assert {
    condition     = alltrue([for t in aws_dynamodb_table.this : t.point_in_time_recovery[0].enabled && t.server_side_encryption[0].enabled && t.deletion_protection_enabled && t.billing_mode == "PAY_PER_REQUEST"])
    error_message = "tables can be restored, are encrypted, protected, and on demand"
  }
  assert {
    condition     = length(aws_dynamodb_table.this["journal"].ttl) == 0 && aws_dynamodb_table.this["balances"].ttl[0].attribute_name == "ttl"
    error_message = "only what may go has a time to live"
  }
  assert {
    condition     = aws_s3_bucket_public_access_block.archive.block_public_acls && aws_s3_bucket_public_access_block.archive.block_public_policy && aws_s3_bucket_public_access_block.archive.ignore_public_acls && aws_s3_bucket_public_access_block.archive.restrict_public_buckets
    error_message = "the archive is not public"
  }
  assert {
    condition     = aws_s3_bucket_versioning.archive.versioning_configuration[0].status == "Enabled" && length(aws_s3_bucket_object_lock_configuration.archive) == 0
    error_message = "the archive is versioned, and locked only when asked"
  }
  assert {
    condition     = aws_elasticache_replication_group.this.multi_az_enabled && aws_elasticache_replication_group.this.transit_encryption_mode == "required" && tobool(aws_elasticache_replication_group.this.at_rest_encryption_enabled)
    error_message = "the cache spans zones and is encrypted"
  }
  assert {
    condition     = contains([for p in aws_elasticache_parameter_group.this.parameter : p.value if p.name == "maxmemory-policy"], "noeviction")
    error_message = "the cache never drops a book"
  }
  assert {
    condition     = aws_elasticache_user.services.authentication_mode[0].type == "iam"
    error_message = "services sign in to the cache with their role"
  }
  assert {
    condition     = alltrue([for c in aws_rds_cluster.this : c.storage_encrypted && c.deletion_protection && c.manage_master_user_password && c.backup_retention_period >= 7])
    error_message = "Aurora is encrypted, protected, backed up, and its password is not in the state"
  }
  assert {
    condition     = aws_rds_cluster_instance.this["00-0"].availability_zone != aws_rds_cluster_instance.this["00-1"].availability_zone
    error_message = "writer and reader stand in different zones"
  }
  assert {
    condition     = alltrue([for i in aws_rds_cluster_instance.this : !i.publicly_accessible])
    error_message = "no instance is public"
  }
  assert {
    condition     = alltrue([for p in aws_db_proxy.this : p.require_tls])
    error_message = "the proxy wants TLS"
  }
}

run "grown" {
  command = plan
  variables {
    dynamodb_capacity = { read_min = 100, read_max = 40000, write_min = 100, write_max = 40000 }
    cache_shards      = 8
    aurora_clusters   = 4
    aurora_readers    = 2
    archive_lock_days = 2555
  }
  assert {
    condition     = length(aws_rds_cluster.this) == 4 && length(aws_rds_cluster_instance.this) == 12 && length(aws_db_proxy.this) == 4 && length(aws_secretsmanager_secret_rotation.database) == 4
    error_message = "each cluster has a writer, two readers, a proxy and a password that rotates"
  }
  assert {
    condition     = aws_elasticache_replication_group.this.num_node_groups == 8
    error_message = "eight shards of the cache"
  }
  assert {
    condition     = length(aws_appautoscaling_policy.dynamodb) == 4 && aws_dynamodb_table.this["journal"].billing_mode == "PROVISIONED"
    error_message = "two tables scale reads and writes"
  }
  assert {
    condition     = aws_s3_bucket_object_lock_configuration.archive[0].rule[0].default_retention[0].mode == "COMPLIANCE"
    error_message = "the archive is locked"
  }
}

run "a_single_reader_is_the_least" {
  command = plan
  variables {
    aurora_readers = 0
  }
  expect_failures = [var.aurora_readers]
}
