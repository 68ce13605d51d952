# Keeps a copy of topics on the engine's local cluster, fails over to it, and goes home when the primary cluster is back. The
# README has the commands between the applies.

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
  name = "primary"

  # Only such a link can go back. Topics and groups have the same names on both clusters.
  mode = "BIDIRECTIONAL"

  remote_cluster = {
    bootstrap_servers = var.primary_bootstrap_servers
  }

  consumer_offset_sync = {
    enable        = true
    interval_ms   = 5000
    group_filters = [{ name = "*", pattern_type = "LITERAL", filter_type = "INCLUDE" }]
  }

  acl_sync = {
    enable = var.copy_acls
    filters = [for topic in var.topics : {
      resource_type   = "TOPIC"
      resource_name   = topic
      pattern_type    = "ANY"
      principal       = ""
      host            = ""
      operation       = "ANY"
      permission_type = "ANY"
    }]
  }
}

resource "clusterlink_mirror_topic" "copy" {
  for_each = var.topics

  link         = clusterlink_link.primary.name
  source_topic = each.key
  status       = var.primary_is_lost ? "FAILED_OVER" : "ACTIVE"
}
