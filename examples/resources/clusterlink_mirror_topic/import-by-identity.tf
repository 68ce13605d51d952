import {
  to = clusterlink_mirror_topic.orders
  identity = {
    link = "from-primary"
    name = "orders"
  }
}
