output "mirror_topics" {
  description = "Names of the mirror topics on the engine's local cluster."
  value       = sort([for topic in clusterlink_mirror_topic.gathered : topic.name])
}
