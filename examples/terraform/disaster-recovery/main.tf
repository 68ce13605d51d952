# Keeps a copy of topics on the engine's local cluster. When the primary cluster is lost, one change of a variable makes them
# topics like any other, with what they have.

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
    bootstrap_servers = var.primary_bootstrap_servers
  }

  # Groups find their offsets on this cluster. A group that moves here early is left alone; exclude it then.
  consumer_offset_sync = {
    enable        = true
    interval_ms   = 5000
    group_filters = [{ name = "*", pattern_type = "LITERAL", filter_type = "INCLUDE" }]
  }
}

resource "clusterlink_mirror_topic" "copy" {
  for_each = var.topics

  link         = clusterlink_link.primary.name
  source_topic = each.key
  status       = var.primary_is_lost ? "FAILED_OVER" : "ACTIVE"
}
