output "template" {
  description = "Name of the workflow template."
  value       = google_dataproc_workflow_template.this.name
}

output "parameters" {
  description = "Names of the template's parameters; each run has to give all of them."
  value       = [for parameter in local.template.parameters : parameter.name]
}
