import {
  to = clusterlink_link.primary
  identity = {
    name = "from-primary"
  }
}
