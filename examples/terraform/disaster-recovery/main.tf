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

  # Applications find their rights on this cluster, if there is an authorizer on both.
  acl_sync = {
    enable = length(var.acl_principals) > 0
    filters = length(var.acl_principals) == 0 ? null : [for principal in var.acl_principals : {
      resource_type   = "ANY"
      resource_name   = ""
      pattern_type    = "ANY"
      principal       = principal
      host            = ""
      operation       = "ANY"
      permission_type = "ANY"
    }]
  }

  # New topics are copied as soon as they are there, not at the next apply.
  auto_create_mirror_topics = {
    enable = length(var.automatic_prefixes) > 0
    filters = length(var.automatic_prefixes) == 0 ? null : [for prefix in var.automatic_prefixes : {
      name         = prefix
      pattern_type = "PREFIXED"
      filter_type  = "INCLUDE"
    }]
  }
}

# What the engine has made by itself comes under Terraform with the next apply, so that a failover takes it along.
data "clusterlink_mirror_topics" "all" {}

locals {
  automatic = {
    for topic in data.clusterlink_mirror_topics.all.mirror_topics : topic.source_topic => topic.id
    if topic.automatic && topic.link == "from-primary"
  }
  topics = setunion(var.topics, keys(local.automatic))
}

import {
  for_each = local.automatic

  to = clusterlink_mirror_topic.copy[each.key]
  id = each.value
}

resource "clusterlink_mirror_topic" "copy" {
  for_each = local.topics

  link         = clusterlink_link.primary.name
  source_topic = each.key
  status       = var.primary_is_lost ? "FAILED_OVER" : "ACTIVE"
}
