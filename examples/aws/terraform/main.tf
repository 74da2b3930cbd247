# The complete venue. README.md in examples/aws says what each part is for.

locals {
  # What Terraform and the Go code must agree on. contract.json is written by a
  # test of the Go code, which fails when it is not up to date.
  contract = jsondecode(file("${path.module}/contract.json"))
  shards   = [for i in range(var.shards) : format("%03d", i)]
  web      = "${path.module}/../../exchange/web/static"
  lambda   = var.compute == "lambda"
}

module "network" {
  source                    = "./modules/network"
  name                      = var.name
  cidr                      = var.cidr
  zones                     = var.zones
  kms_key_arn               = aws_kms_key.this.arn
  nat                       = false
  extra_interface_endpoints = local.lambda ? {} : local.eks_endpoints
}

module "data" {
  source             = "./modules/data"
  name               = var.name
  kms_key_arn        = aws_kms_key.this.arn
  subnet_ids         = module.network.private_subnet_ids
  zones              = var.zones
  security_group_ids = { cache = module.network.security_group_ids.cache, proxy = module.network.security_group_ids.proxy, database = module.network.security_group_ids.database }
  tables             = local.contract.tables
  dynamodb_capacity  = var.dynamodb
  cache_node_type    = var.cache.node_type
  cache_shards       = var.cache.shards
  cache_replicas     = var.cache.replicas
  aurora_clusters    = var.aurora.clusters
  aurora_readers     = var.aurora.readers
  aurora_capacity    = { min = var.aurora.min, max = var.aurora.max }
  archive_lock_days  = var.archive_lock_days
  log_days           = var.log_days
  protect            = var.protect
}

module "messaging" {
  source            = "./modules/messaging"
  name              = var.name
  kms_key_arn       = aws_kms_key.this.arn
  shards            = var.shards
  consumers         = { market-data = {}, trade-recorder = {}, settler = {} }
  event_source      = local.contract.event.source
  event_detail_type = local.contract.event.detail_type
}

module "compute" {
  source            = "./modules/compute"
  name              = var.name
  kms_key_arn       = aws_kms_key.this.arn
  zips              = var.zips
  subnet_ids        = module.network.private_subnet_ids
  security_group_id = module.network.security_group_ids.services
  log_days          = var.log_days
  functions         = local.functions
}

module "api" {
  source            = "./modules/api"
  name              = var.name
  kms_key_arn       = aws_kms_key.this.arn
  openapi           = "${path.module}/../../internal/api/openapi.yaml"
  functions         = { for f in ["api", "authorizer", "websocket"] : f => { name = module.compute.functions[f].name, arn = module.compute.functions[f].arn, invoke_arn = module.compute.functions[f].invoke_arn } }
  bus               = module.messaging.bus
  event_source      = local.contract.event.source
  event_detail_type = local.contract.event.detail_type
  throttle          = var.throttle
  cache_gb          = var.cache_gb
  partners          = var.partners
  api_key_required  = var.api_key_required
  log_days          = var.log_days
}

module "edge" {
  source        = "./modules/edge"
  providers     = { aws = aws, aws.us_east_1 = aws.us_east_1 }
  name          = var.name
  domain        = var.domain
  page_files    = local.web
  page_policy   = local.contract.page_policy
  rest_api      = { id = module.api.rest.id, stage = module.api.rest.stage, stage_arn = module.api.rest.stage_arn }
  websocket_api = { id = module.api.websocket.id }
  allowed_ips   = var.allowed_ips
  blocked_ips   = var.blocked_ips
  protect       = var.protect
}

module "observability" {
  source      = "./modules/observability"
  providers   = { aws = aws, aws.us_east_1 = aws.us_east_1 }
  name        = var.name
  kms_key_arn = aws_kms_key.this.arn
  namespace   = local.namespace
  emails      = var.emails
  functions   = { for key, f in module.compute.functions : key => { name = f.name, log_group = f.log_group } }
  log_groups  = local.lambda ? {} : { services = module.eks[0].log_group }
  queues = merge(
    { for i, shard in local.shards : "commands-${shard}" => module.messaging.commands[i].name },
    merge([for consumer, queues in module.messaging.consumers : { for i, shard in local.shards : "${consumer}-${shard}" => queues[i].name }]...),
    { requests = module.messaging.requests.name, push = module.messaging.push.name },
  )
  dead_queues        = module.messaging.dead_queues
  tables             = { for key in keys(local.contract.tables) : key => module.data.tables[key].name }
  aurora_cluster_ids = [for c in module.data.aurora : c.id]
  cache_nodes        = module.data.cache.nodes
  rest_api           = { name = module.api.rest.name, stage = module.api.rest.stage }
  websocket_api      = { id = module.api.websocket.id, stage = module.api.websocket.stage }
  health_check_id    = module.edge.health_check_id
}
