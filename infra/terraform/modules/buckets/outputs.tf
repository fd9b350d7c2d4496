output "names" {
  description = "Purpose (code, warehouse, exchange, state, staging) to name of the bucket."
  value       = { for purpose, bucket in google_storage_bucket.this : purpose => bucket.name }
}
