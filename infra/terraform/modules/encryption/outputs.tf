output "kms_key" {
  description = "The key, once the services may use it: for the other modules."
  value       = var.kms_key
  depends_on  = [google_kms_crypto_key_iam_member.agent]
}
