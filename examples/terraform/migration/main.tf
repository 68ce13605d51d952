# Moves topics to the engine's local cluster: first they are mirrored, then, when the producers have stopped, one change of a
# variable promotes them all. Consumers go on with the offsets they have.

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

resource "clusterlink_link" "old" {
  name = "from-old"

  remote_cluster = {
    bootstrap_servers = var.old_bootstrap_servers
  }

  # Groups find their offsets on this cluster. A group that moves here early is left alone; exclude it then.
  consumer_offset_sync = {
    enable        = true
    interval_ms   = 5000
    group_filters = [{ name = "*", pattern_type = "LITERAL", filter_type = "INCLUDE" }]
  }
}

resource "clusterlink_mirror_topic" "moved" {
  for_each = var.topics

  link         = clusterlink_link.old.name
  source_topic = each.key
  status       = var.cut_over ? "PROMOTED" : "ACTIVE"
}
