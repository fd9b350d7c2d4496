# Lets the agents of Google's services encrypt and decrypt with one key. An agent exists once its service was used, or
# after `gcloud beta services identity create`.

locals {
  agents = {
    bigquery      = "bq-${var.project_number}@bigquery-encryption.iam.gserviceaccount.com"
    compute       = "service-${var.project_number}@compute-system.iam.gserviceaccount.com"
    dataproc      = "service-${var.project_number}@dataproc-accounts.iam.gserviceaccount.com"
    managedkafka  = "service-${var.project_number}@gcp-sa-managedkafka.iam.gserviceaccount.com"
    pubsub        = "service-${var.project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
    run           = "service-${var.project_number}@serverless-robot-prod.iam.gserviceaccount.com"
    secretmanager = "service-${var.project_number}@gcp-sa-secretmanager.iam.gserviceaccount.com"
    sql           = "service-${var.project_number}@gcp-sa-cloud-sql.iam.gserviceaccount.com"
    storage       = "service-${var.project_number}@gs-project-accounts.iam.gserviceaccount.com"
  }
}

resource "google_kms_crypto_key_iam_member" "agent" {
  for_each      = var.services
  crypto_key_id = var.kms_key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:${local.agents[each.key]}"
}
