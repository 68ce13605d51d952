data "clusterlink_mirror_topic" "orders" {
  link = "from-primary"
  name = "orders"
}

output "lag" {
  value = data.clusterlink_mirror_topic.orders.lag
}
