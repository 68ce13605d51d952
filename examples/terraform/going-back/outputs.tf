output "topics" {
  description = "State of each topic by the engine's name, and which way it goes."
  value       = { for name, topic in clusterlink_mirror_topic.copy : name => "${topic.observed_status} ${topic.direction}" }
}
