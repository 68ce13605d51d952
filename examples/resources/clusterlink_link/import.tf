import {
  to = clusterlink_link.primary
  id = "from-primary"
}
