# The workflow template of infra/dataproc, as it is there: its jobs, parameters and packages are read from the same
# file that `gcloud dataproc workflow-templates import` takes. Here come the machines, the network and the environment.

locals {
  template  = yamldecode(replace(file("${path.module}/../../../dataproc/workflow-template.yaml"), "BUCKET", var.code_bucket))
  software  = local.template.placement.managedCluster.config.softwareConfig
  overrides = local.images[var.image]
  images = {
    # The template's own.
    "2.3" = { version = local.software.imageVersion, properties = {} }
    # The image carries Iceberg 1.11 as a component, which stays off: the same release, with Google's login beside it.
    "3.0" = {
      version    = "3.0-debian13"
      properties = { "spark:spark.jars.packages" = "org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.11.0,org.apache.iceberg:iceberg-gcp-bundle:1.11.0" }
    }
  }
  environment_file = "environment.yaml"
}

resource "google_storage_bucket_object" "environment" {
  bucket       = var.code_bucket
  name         = "polyexpose/${local.environment_file}"
  content      = var.environment
  content_type = "application/yaml"
}

resource "google_dataproc_autoscaling_policy" "this" {
  project   = var.project
  location  = var.region
  policy_id = var.name

  worker_config {
    min_instances = 2
    max_instances = var.max_workers
  }

  basic_algorithm {
    yarn_config {
      # A run is short: machines are added as they are needed, and go with the cluster, not before.
      scale_up_factor               = 1
      scale_down_factor             = 0
      graceful_decommission_timeout = "0s"
    }
  }
}

resource "google_dataproc_workflow_template" "this" {
  project     = var.project
  location    = var.region
  name        = var.name
  labels      = var.labels
  dag_timeout = "${var.timeout_hours * 3600}s"

  placement {
    managed_cluster {
      cluster_name = var.name
      labels       = var.labels
      config {
        staging_bucket = var.staging_bucket
        temp_bucket    = var.staging_bucket

        autoscaling_config {
          policy = google_dataproc_autoscaling_policy.this.id
        }

        gce_cluster_config {
          subnetwork             = var.subnet
          internal_ip_only       = true
          service_account        = var.runner
          service_account_scopes = ["https://www.googleapis.com/auth/cloud-platform"]
          tags                   = var.tags
          shielded_instance_config {
            enable_secure_boot          = true
            enable_vtpm                 = true
            enable_integrity_monitoring = true
          }
        }

        master_config {
          num_instances = 1
          machine_type  = var.machine_type
          disk_config {
            boot_disk_type    = "pd-balanced"
            boot_disk_size_gb = 100
          }
        }

        worker_config {
          num_instances = 2
          machine_type  = var.machine_type
          disk_config {
            boot_disk_type    = "pd-balanced"
            boot_disk_size_gb = 100
          }
        }

        software_config {
          image_version = local.overrides.version
          properties = merge(local.software.properties, local.overrides.properties, {
            # Off by default; the alerts read what a run says about itself.
            "dataproc:dataproc.logging.stackdriver.job.driver.enable" = "true"
          })
        }

        dynamic "encryption_config" {
          for_each = var.kms_key == null ? [] : [var.kms_key]
          content {
            gce_pd_kms_key_name = encryption_config.value
          }
        }
      }
    }
  }

  dynamic "jobs" {
    for_each = local.template.jobs
    content {
      step_id               = jobs.value.stepId
      prerequisite_step_ids = try(jobs.value.prerequisiteStepIds, [])
      labels                = var.labels
      pyspark_job {
        main_python_file_uri = jobs.value.pysparkJob.mainPythonFileUri
        python_file_uris     = jobs.value.pysparkJob.pythonFileUris
        # After the template's own arguments, whose positions its parameters name.
        args      = concat(jobs.value.pysparkJob.args, ["--conf", local.environment_file])
        file_uris = concat(try(jobs.value.pysparkJob.fileUris, []), ["gs://${var.code_bucket}/${google_storage_bucket_object.environment.name}"])
      }
    }
  }

  dynamic "parameters" {
    for_each = local.template.parameters
    content {
      name        = parameters.value.name
      description = parameters.value.description
      fields      = parameters.value.fields
      validation {
        regex {
          regexes = parameters.value.validation.regex.regexes
        }
      }
    }
  }

  dynamic "encryption_config" {
    for_each = var.kms_key == null ? [] : [var.kms_key]
    content {
      kms_key = encryption_config.value
    }
  }
}
