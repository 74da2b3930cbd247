output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "Private subnets, one a zone, in the order of zones."
  value       = [for zone in var.zones : aws_subnet.private[zone].id]
}

output "security_group_ids" {
  description = "Groups by whom they are for: services, cache, proxy, database, endpoints."
  value = {
    services  = aws_security_group.services.id
    cache     = aws_security_group.cache.id
    proxy     = aws_security_group.proxy.id
    database  = aws_security_group.database.id
    endpoints = aws_security_group.endpoints.id
  }
}

output "has_way_out" {
  description = "Whether the private subnets have a route to the internet."
  value       = var.nat
}
