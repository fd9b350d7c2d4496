# What Google would answer, in the forms it answers in, for `terraform test` without Google: other resources check them.

mock_resource "google_service_account" {
  defaults = {
    name   = "projects/acme-data-prod/serviceAccounts/mocked@acme-data-prod.iam.gserviceaccount.com"
    email  = "mocked@acme-data-prod.iam.gserviceaccount.com"
    member = "serviceAccount:mocked@acme-data-prod.iam.gserviceaccount.com"
  }
}

mock_resource "google_project_iam_custom_role" {
  defaults = {
    name = "projects/acme-data-prod/roles/mocked"
  }
}

mock_resource "google_compute_network" {
  defaults = {
    id = "projects/acme-data-prod/global/networks/mocked"
  }
}

mock_resource "google_compute_subnetwork" {
  defaults = {
    id = "projects/acme-data-prod/regions/europe-west1/subnetworks/mocked"
  }
}

mock_resource "google_secret_manager_secret" {
  defaults = {
    id = "projects/acme-data-prod/secrets/mocked"
  }
}

mock_resource "google_dataproc_autoscaling_policy" {
  defaults = {
    id = "projects/acme-data-prod/locations/europe-west1/autoscalingPolicies/mocked"
  }
}

mock_resource "google_dataproc_workflow_template" {
  defaults = {
    id = "projects/acme-data-prod/locations/europe-west1/workflowTemplates/polyexpose"
  }
}

mock_resource "google_cloud_run_v2_service" {
  defaults = {
    uri = "https://mocked-ew.a.run.app"
  }
}

mock_resource "google_sql_database_instance" {
  defaults = {
    private_ip_address = "10.20.0.3"
  }
}

mock_resource "google_biglake_iceberg_catalog" {
  defaults = {
    biglake_service_account = "mocked@gcp-sa-biglakerestcatalog.iam.gserviceaccount.com"
  }
}

mock_resource "google_pubsub_topic" {
  defaults = {
    id = "projects/acme-data-prod/topics/mocked"
  }
}

mock_resource "google_monitoring_notification_channel" {
  defaults = {
    name = "projects/acme-data-prod/notificationChannels/1"
  }
}
