output "imported" {
  description = "Mirror topics that are under Terraform now."
  value       = sort(keys(clusterlink_mirror_topic.existing))
}
