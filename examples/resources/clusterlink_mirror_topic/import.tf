import {
  to = clusterlink_mirror_topic.orders
  id = "from-primary/orders"
}
