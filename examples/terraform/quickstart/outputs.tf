output "source_cluster_id" {
  description = "Id that the source cluster told the engine."
  value       = clusterlink_link.primary.remote_cluster.cluster_id
}

output "mirror_topic" {
  description = "Name of the mirror topic on the engine's local cluster."
  value       = clusterlink_mirror_topic.orders.name
}

output "partitions" {
  description = "Number of partitions, that of the source topic."
  value       = clusterlink_mirror_topic.orders.partitions
}
