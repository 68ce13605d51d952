data "clusterlink_link" "primary" {
  name = "from-primary"
}

check "everything_is_in_step" {
  assert {
    condition     = alltrue([for task in data.clusterlink_link.primary.tasks : task.state != "IN_ERROR"])
    error_message = "A task of the link is in error."
  }
}
