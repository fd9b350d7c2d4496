terraform {
  # mock_provider (tests) came with 1.7, validations that look at other variables with 1.9.
  required_version = ">= 1.9"
  required_providers {
    google = {
      source = "hashicorp/google"
      # 8 may rename arguments; what was validated is 7.
      version = ">= 7.0, < 8.0"
    }
  }
}
