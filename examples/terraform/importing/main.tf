# Takes a link and its mirror topics, made by hand, under Terraform: nothing is created, and nothing changes at the engine.

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

import {
  to = clusterlink_link.existing
  id = var.link
}

resource "clusterlink_link" "existing" {
  name = var.link

  remote_cluster = {
    bootstrap_servers = var.source_bootstrap_servers
  }
}

# All mirror topics that the engine has on the link, with what is needed to import them.
data "clusterlink_mirror_topics" "existing" {
  link = var.link
}

locals {
  existing = { for topic in data.clusterlink_mirror_topics.existing.mirror_topics : topic.name => topic }
}

import {
  for_each = local.existing

  to = clusterlink_mirror_topic.existing[each.key]
  id = each.value.id
}

resource "clusterlink_mirror_topic" "existing" {
  for_each = local.existing

  link         = clusterlink_link.existing.name
  source_topic = each.value.source_topic
}
