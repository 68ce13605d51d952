# Mirror topics that links have made by themselves come under Terraform (Terraform 1.7 or newer).
data "clusterlink_mirror_topics" "all" {}

locals {
  automatic = { for topic in data.clusterlink_mirror_topics.all.mirror_topics : topic.name => topic if topic.automatic }
}

import {
  for_each = local.automatic
  to       = clusterlink_mirror_topic.automatic[each.key]
  id       = each.value.id
}

resource "clusterlink_mirror_topic" "automatic" {
  for_each     = local.automatic
  link         = each.value.link
  source_topic = each.value.source_topic
}
