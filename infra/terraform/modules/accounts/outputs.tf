output "emails" {
  description = "Role to address of its service account."
  value       = { for role, account in google_service_account.this : role => account.email }
}

output "members" {
  description = "Role to member, as IAM names it."
  value       = { for role, account in google_service_account.this : role => account.member }
}

output "names" {
  description = "Role to full name of the service account."
  value       = { for role, account in google_service_account.this : role => account.name }
}
