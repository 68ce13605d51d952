output "topics" {
  description = "State of each topic, by the engine's name."
  value       = { for name, topic in clusterlink_mirror_topic.moved : name => topic.observed_status }
}
