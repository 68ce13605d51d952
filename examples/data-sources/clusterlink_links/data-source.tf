data "clusterlink_links" "all" {}

output "unavailable" {
  value = [for link in data.clusterlink_links.all.links : link.name if link.state == "UNAVAILABLE"]
}
