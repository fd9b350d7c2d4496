output "environment" {
  description = "For `--conf`: the addresses of this environment."
  value       = local.environment
}

output "buckets" {
  description = "Purpose to bucket."
  value       = module.buckets.names
}

output "template" {
  description = "Name of the workflow template."
  value       = module.dataproc.template
}
