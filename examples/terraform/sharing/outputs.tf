output "topics" {
  description = "Name on this cluster of each shared topic."
  value       = { for name, topic in clusterlink_mirror_topic.shared : name => topic.name }
}
