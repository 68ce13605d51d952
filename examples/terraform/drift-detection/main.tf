# What CI looks after: a link and its mirror topics. The README has the commands, and drift.yml runs them in GitHub Actions.

terraform {
  required_version = ">= 1.7"

  required_providers {
    clusterlink = {
      source = "clusterlink/clusterlink"
    }
  }
}

provider "clusterlink" {
  endpoint = var.engine_endpoint
  tls      = var.engine_tls
}

resource "clusterlink_link" "primary" {
  name = "from-primary"

  remote_cluster = {
    bootstrap_servers = var.source_bootstrap_servers
  }

  topic_config_sync = {
    interval_ms = 5000
  }
}

resource "clusterlink_mirror_topic" "copy" {
  for_each = var.topics

  link         = clusterlink_link.primary.name
  source_topic = each.key
}
