# A copy for readers that must not disturb production: reports, notebooks, backfills. Everything under some prefixes is mirrored as soon as it
# is there.

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

resource "clusterlink_link" "production" {
  name = "from-production"

  remote_cluster = {
    bootstrap_servers = var.production_bootstrap_servers
  }

  # New topics become mirror topics by themselves.
  auto_create_mirror_topics = {
    enable = true
    filters = concat(
      [for prefix in var.prefixes : { name = prefix, pattern_type = "PREFIXED", filter_type = "INCLUDE" }],
      [for topic in var.excluded : { name = topic, pattern_type = "LITERAL", filter_type = "EXCLUDE" }],
    )
  }

  # The readers have groups of their own here, so production's are not copied; and new settings of production may take a while.
  topic_config_sync = {
    interval_ms = 60000
  }
}

# What was found, for outputs and monitoring; it changes nothing.
data "clusterlink_mirror_topics" "replicas" {
  link       = clusterlink_link.production.name
  depends_on = [clusterlink_link.production]
}
