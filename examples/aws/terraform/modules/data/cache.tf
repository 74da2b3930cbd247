# The book as last seen. It may be lost at any time at the cost of a reload, but
# it must never be dropped piece by piece while it is there: nothing is evicted.

resource "aws_elasticache_subnet_group" "this" {
  name       = var.name
  subnet_ids = var.subnet_ids
}

resource "aws_elasticache_parameter_group" "this" {
  name        = "${var.name}-valkey8"
  family      = "valkey8"
  description = "Never evicts: a full cache refuses writes, which costs a reload, not a book."

  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }
  parameter {
    name  = "cluster-enabled"
    value = "yes"
  }
}

# Services sign in with their role: there is no password to keep or to rotate.
resource "aws_elasticache_user" "services" {
  user_id       = "${var.name}-services"
  user_name     = "${var.name}-services"
  engine        = "valkey"
  access_string = "on ~* +@all -@dangerous -@admin"

  authentication_mode {
    type = "iam"
  }
}

# Valkey's user groups need no default user; whoever is not named gets nothing.
resource "aws_elasticache_user_group" "this" {
  user_group_id = var.name
  engine        = "valkey"
  user_ids      = [aws_elasticache_user.services.user_id]
}

resource "aws_elasticache_replication_group" "this" {
  replication_group_id       = var.name
  description                = "Books of ${var.name}"
  engine                     = "valkey"
  engine_version             = "8.0"
  node_type                  = var.cache_node_type
  parameter_group_name       = aws_elasticache_parameter_group.this.name
  port                       = 6379
  num_node_groups            = var.cache_shards
  replicas_per_node_group    = var.cache_replicas
  automatic_failover_enabled = true
  multi_az_enabled           = true
  subnet_group_name          = aws_elasticache_subnet_group.this.name
  security_group_ids         = [var.security_group_ids.cache]
  user_group_ids             = [aws_elasticache_user_group.this.user_group_id]
  at_rest_encryption_enabled = true
  kms_key_id                 = var.kms_key_arn
  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
  snapshot_retention_limit   = 0 # the journal is the backup
  apply_immediately          = true
}
