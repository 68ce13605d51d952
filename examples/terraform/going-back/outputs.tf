output "topics" {
  description = "What is wanted of each topic. Its state and direction change by themselves, and an output of them would be a change in a plan."
  value       = { for name, topic in clusterlink_mirror_topic.copy : name => topic.status }
}
