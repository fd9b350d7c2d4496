output "environment" {
  description = "For `--conf`: the addresses of this environment. It holds references to secrets, and none of their values."
  value       = local.environment
}

output "buckets" {
  description = "Purpose to bucket."
  value       = module.buckets.names
}

output "accounts" {
  description = "Role to service account."
  value       = module.accounts.emails
}

output "secrets" {
  description = "Secret to its id in Secret Manager: what needs a value before Hasura can start."
  value       = module.secrets.ids
}

output "database" {
  description = "Hasura's PostgreSQL: instance, host, name."
  value       = module.hasura.database
}

output "graphql" {
  description = "Address that applications call, with /v1/graphql behind it."
  value       = module.hasura.graphql
}

output "template" {
  description = "Name of the workflow template."
  value       = module.dataproc.template
}

output "schedules" {
  description = "Names of the schedules."
  value       = module.schedule.jobs
}

output "alerts" {
  description = "Names of the alert policies."
  value       = module.alerts.policies
}
