# One link and one mirror topic: the topic of the source cluster appears on the engine's local cluster, with the same
# partitions, the same offsets and the same bytes, and stays so.

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

resource "clusterlink_mirror_topic" "orders" {
  link         = clusterlink_link.primary.name
  source_topic = var.source_topic
}
