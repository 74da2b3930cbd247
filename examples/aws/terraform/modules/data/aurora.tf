# Orders and trades for queries. Spread by account over aurora_clusters; each
# has a writer and readers in different zones, behind an RDS Proxy, which keeps
# the connections of many functions few and rides out a failover.

data "aws_region" "here" {}
data "aws_caller_identity" "me" {}
data "aws_partition" "here" {}

locals {
  clusters = { for i in range(var.aurora_clusters) : format("%02d", i) => i }
  instances = merge([
    for key, i in local.clusters : {
      for n in range(1 + var.aurora_readers) : "${key}-${n}" => { cluster = key, n = n, zone = var.zones[(i + n) % length(var.zones)] }
    }
  ]...)
}

resource "aws_db_subnet_group" "this" {
  name       = var.name
  subnet_ids = var.subnet_ids
}

resource "aws_rds_cluster_parameter_group" "this" {
  name        = "${var.name}-postgresql"
  family      = "aurora-postgresql${split(".", var.aurora_version)[0]}"
  description = "TLS only"

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }
}

# RDS makes it itself when it is not there, and keeps it for ever.
resource "aws_cloudwatch_log_group" "database" {
  for_each          = local.clusters
  name              = "/aws/rds/cluster/${var.name}-${each.key}/postgresql"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_rds_cluster" "this" {
  for_each = local.clusters

  cluster_identifier                  = "${var.name}-${each.key}"
  engine                              = "aurora-postgresql"
  engine_version                      = var.aurora_version
  database_name                       = "exchange"
  master_username                     = "exchange"
  manage_master_user_password         = true # kept and rotated by Secrets Manager, never in the state
  master_user_secret_kms_key_id       = var.kms_key_arn
  iam_database_authentication_enabled = true
  db_subnet_group_name                = aws_db_subnet_group.this.name
  vpc_security_group_ids              = [var.security_group_ids.database]
  db_cluster_parameter_group_name     = aws_rds_cluster_parameter_group.this.name
  storage_encrypted                   = true
  kms_key_id                          = var.kms_key_arn
  backup_retention_period             = var.backup_days
  preferred_backup_window             = "03:00-03:30"
  copy_tags_to_snapshot               = true
  deletion_protection                 = var.protect
  skip_final_snapshot                 = !var.protect
  final_snapshot_identifier           = var.protect ? "${var.name}-${each.key}-final" : null
  enabled_cloudwatch_logs_exports     = ["postgresql"]

  serverlessv2_scaling_configuration {
    min_capacity = var.aurora_capacity.min
    max_capacity = var.aurora_capacity.max
  }

  depends_on = [aws_cloudwatch_log_group.database]
}

resource "aws_rds_cluster_instance" "this" {
  for_each = local.instances

  identifier                      = "${var.name}-${each.key}"
  cluster_identifier              = aws_rds_cluster.this[each.value.cluster].id
  engine                          = aws_rds_cluster.this[each.value.cluster].engine
  engine_version                  = aws_rds_cluster.this[each.value.cluster].engine_version
  instance_class                  = "db.serverless"
  availability_zone               = each.value.zone
  promotion_tier                  = min(each.value.n, 1) # 0 and 1 scale with the writer, so that a failover meets a warm reader
  publicly_accessible             = false
  performance_insights_enabled    = true
  performance_insights_kms_key_id = var.kms_key_arn
  auto_minor_version_upgrade      = true
}

resource "aws_secretsmanager_secret_rotation" "database" {
  for_each  = aws_rds_cluster.this
  secret_id = each.value.master_user_secret[0].secret_arn

  rotation_rules {
    automatically_after_days = var.password_days
  }
}

# --- RDS Proxy ---

# Without a condition on the account, as AWS documents it for a proxy: one that
# may not take its role answers every connection with an error.
data "aws_iam_policy_document" "proxy_assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["rds.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "proxy" {
  statement {
    sid       = "ReadPassword"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [for c in aws_rds_cluster.this : c.master_user_secret[0].secret_arn]
  }
  statement {
    sid       = "DecryptPassword"
    actions   = ["kms:Decrypt"]
    resources = [var.kms_key_arn]
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["secretsmanager.${data.aws_region.here.name}.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "proxy" {
  name               = "${var.name}-rds-proxy"
  assume_role_policy = data.aws_iam_policy_document.proxy_assume.json
}

resource "aws_iam_role_policy" "proxy" {
  role   = aws_iam_role.proxy.id
  policy = data.aws_iam_policy_document.proxy.json
}

resource "aws_db_proxy" "this" {
  for_each = local.clusters

  name                   = "${var.name}-${each.key}"
  engine_family          = "POSTGRESQL"
  role_arn               = aws_iam_role.proxy.arn
  vpc_subnet_ids         = var.subnet_ids
  vpc_security_group_ids = [var.security_group_ids.proxy]
  require_tls            = true
  idle_client_timeout    = 1800

  auth {
    auth_scheme = "SECRETS"
    iam_auth    = "REQUIRED" # services sign in with their role
    secret_arn  = aws_rds_cluster.this[each.key].master_user_secret[0].secret_arn
  }
}

resource "aws_db_proxy_default_target_group" "this" {
  for_each      = aws_db_proxy.this
  db_proxy_name = each.value.name

  connection_pool_config {
    max_connections_percent      = 90
    max_idle_connections_percent = 50
    connection_borrow_timeout    = 5
  }
}

resource "aws_db_proxy_target" "this" {
  for_each              = aws_db_proxy.this
  db_proxy_name         = each.value.name
  target_group_name     = aws_db_proxy_default_target_group.this[each.key].name
  db_cluster_identifier = aws_rds_cluster.this[each.key].id
}

resource "aws_db_proxy_endpoint" "reader" {
  for_each               = aws_db_proxy.this
  db_proxy_name          = each.value.name
  db_proxy_endpoint_name = "${var.name}-${each.key}-reader"
  vpc_subnet_ids         = var.subnet_ids
  vpc_security_group_ids = [var.security_group_ids.proxy]
  target_role            = "READ_ONLY"
}
