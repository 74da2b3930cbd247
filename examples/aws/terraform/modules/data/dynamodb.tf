# The truth of orders (the journal) and of funds (balances), and who is
# connected. The schemas come from the Go code; a test compares them.

resource "aws_dynamodb_table" "this" {
  for_each = var.tables

  name                        = "${var.name}-${each.key}"
  billing_mode                = var.dynamodb_capacity == null ? "PAY_PER_REQUEST" : "PROVISIONED"
  read_capacity               = try(var.dynamodb_capacity.read_min, null)
  write_capacity              = try(var.dynamodb_capacity.write_min, null)
  hash_key                    = each.value.hash_key
  range_key                   = each.value.range_key
  deletion_protection_enabled = var.protect

  dynamic "attribute" {
    for_each = each.value.attributes
    content {
      name = attribute.key
      type = attribute.value
    }
  }

  dynamic "local_secondary_index" {
    for_each = each.value.indexes
    content {
      name            = local_secondary_index.key
      range_key       = local_secondary_index.value
      projection_type = "ALL"
    }
  }

  dynamic "ttl" {
    for_each = each.value.ttl == null ? [] : [each.value.ttl]
    content {
      attribute_name = ttl.value
      enabled        = true
    }
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = var.kms_key_arn
  }

  lifecycle {
    # What auto scaling sets.
    ignore_changes = [read_capacity, write_capacity]
  }
}

locals {
  # A local secondary index has its table's capacity.
  scaled = var.dynamodb_capacity == null ? {} : merge([for table in keys(var.tables) : {
    for way in ["Read", "Write"] : "${table}-${way}" => {
      resource  = "table/${aws_dynamodb_table.this[table].name}"
      dimension = "dynamodb:table:${way}CapacityUnits"
      metric    = "DynamoDB${way}CapacityUtilization"
      min       = way == "Read" ? var.dynamodb_capacity.read_min : var.dynamodb_capacity.write_min
      max       = way == "Read" ? var.dynamodb_capacity.read_max : var.dynamodb_capacity.write_max
    }
  }]...)
}

resource "aws_appautoscaling_target" "dynamodb" {
  for_each           = local.scaled
  service_namespace  = "dynamodb"
  resource_id        = each.value.resource
  scalable_dimension = each.value.dimension
  min_capacity       = each.value.min
  max_capacity       = each.value.max
}

resource "aws_appautoscaling_policy" "dynamodb" {
  for_each           = aws_appautoscaling_target.dynamodb
  name               = "${var.name}-${each.key}"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = each.value.service_namespace
  resource_id        = each.value.resource_id
  scalable_dimension = each.value.scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value = var.dynamodb_capacity.target
    predefined_metric_specification {
      predefined_metric_type = local.scaled[each.key].metric
    }
  }
}
