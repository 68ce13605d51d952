# Gathers the same topics of several clusters on the engine's local cluster, side by side: each source has a link with a prefix of
# its own, so that `orders` of berlin is `berlin.orders` here.

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

resource "clusterlink_link" "source" {
  for_each = var.sources

  name         = "from-${each.key}"
  topic_prefix = "${each.key}."

  remote_cluster = {
    bootstrap_servers = each.value
  }
}

locals {
  mirrors = { for pair in setproduct(keys(var.sources), var.topics) : join(".", pair) => { source = pair[0], topic = pair[1] } }
}

resource "clusterlink_mirror_topic" "gathered" {
  for_each = local.mirrors

  link         = clusterlink_link.source[each.value.source].name
  source_topic = each.value.topic
}
