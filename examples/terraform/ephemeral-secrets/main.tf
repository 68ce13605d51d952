# A link with a user, whose password is in no state and no plan file: it comes by an ephemeral variable, and is sent when its number
# changes. Terraform 1.11.

terraform {
  required_version = ">= 1.11"

  required_providers {
    clusterlink = {
      source = "clusterlink/clusterlink"
    }
  }
}

provider "clusterlink" {
  endpoint = var.engine_endpoint
}

resource "clusterlink_link" "primary" {
  name = "from-primary"

  remote_cluster = {
    bootstrap_servers = var.source_bootstrap_servers
    security_protocol = var.ca_pem == null ? "SASL_PLAINTEXT" : "SASL_SSL"
    tls               = var.ca_pem == null ? null : { ca_pem = var.ca_pem }

    sasl = {
      mechanism           = "SCRAM-SHA-512"
      username            = var.username
      password_wo         = var.password
      password_wo_version = var.password_version
    }
  }
}

resource "clusterlink_mirror_topic" "orders" {
  link         = clusterlink_link.primary.name
  source_topic = var.source_topic
}
