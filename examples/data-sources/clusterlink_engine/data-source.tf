data "clusterlink_engine" "this" {}

output "links_allowed" {
  value = data.clusterlink_engine.this.max_links
}
