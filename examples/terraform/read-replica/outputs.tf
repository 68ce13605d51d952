output "topics" {
  description = "Topics that have a replica. New ones are found while nobody applies, which makes this a change in the next plan."
  value       = sort([for topic in data.clusterlink_mirror_topics.replicas.mirror_topics : topic.name])
}
