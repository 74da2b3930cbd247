output "url" {
  description = "Where the venue is."
  value       = module.edge.url
}

output "name_servers" {
  description = "What the parent zone's NS records for the domain must be."
  value       = module.edge.name_servers
}

output "functions" {
  description = "The functions: names, and whether each stands in the private subnets."
  value       = { for name, f in module.compute.functions : name => { name = f.name, private = f.private } }
}

output "alarms" {
  description = "Names of the alarms."
  value       = module.observability.alarms
}

output "archive_bucket" {
  description = "Bucket of the archive."
  value       = module.data.archive.bucket
}

output "eks" {
  description = "The cluster, the repository of the image and the service accounts with a role; null where functions run the services."
  value       = local.lambda ? null : { cluster = module.eks[0].cluster, image = module.eks[0].image, service_accounts = module.eks[0].service_accounts }
}

output "environment" {
  description = "What the services are told; for the manifests' ConfigMap, and for operate."
  value       = merge(local.values, { REQUEST_QUEUE = module.messaging.requests.url })
}
