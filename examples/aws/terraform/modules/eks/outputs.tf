output "cluster" {
  description = "Name of the cluster."
  value       = aws_eks_cluster.this.name
}

output "image" {
  description = "Repository of the image."
  value       = aws_ecr_repository.this.repository_url
}

output "service_accounts" {
  description = "Service accounts of the manifests' namespace that have a role."
  value       = sort([for a in aws_eks_pod_identity_association.service : a.service_account])
}

output "log_group" {
  description = "Group that the services' logs go to."
  value       = aws_cloudwatch_log_group.services.name
}
