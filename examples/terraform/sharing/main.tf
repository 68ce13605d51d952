# Shares some topics with another team: they appear on that team's cluster, where the engine runs, under a prefix that tells whose they are.
# Which ones, the two sides agree on in this list; the rights at the source see to it that no others can be read.

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

resource "clusterlink_link" "shared" {
  name         = "from-${var.owner}"
  topic_prefix = "${var.owner}."

  remote_cluster = {
    bootstrap_servers = var.owner_bootstrap_servers
  }

  # What the owner sets for its own cluster stays there: only what readers need to know is copied.
  topic_config_sync = {
    interval_ms = 30000
    include     = ["min.compaction.lag.ms", "max.compaction.lag.ms"]
  }

  paused = var.paused
}

resource "clusterlink_mirror_topic" "shared" {
  for_each = var.topics

  link         = clusterlink_link.shared.name
  source_topic = each.key
}
