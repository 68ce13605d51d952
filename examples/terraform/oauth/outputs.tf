output "source_cluster_id" {
  description = "Id that the source cluster told the engine."
  value       = clusterlink_link.source.remote_cluster.cluster_id
}

output "topics" {
  description = "What the engine says of each mirror topic."
  value       = { for name, mirror in clusterlink_mirror_topic.mirrored : name => mirror.observed_status }
}
