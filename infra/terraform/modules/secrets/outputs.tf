output "ids" {
  description = "Secret to its id in Secret Manager."
  value       = { for secret, container in google_secret_manager_secret.this : secret => container.secret_id }
  # Who uses the id (Cloud Run does when it starts) can read the secret by then.
  depends_on = [google_secret_manager_secret_iam_member.reader]
}

output "references" {
  description = "Secret to the reference that polyexpose's configuration takes."
  value       = { for secret, container in google_secret_manager_secret.this : secret => "sm://${var.project}/${container.secret_id}" }
}
