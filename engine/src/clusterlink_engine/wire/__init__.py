"""The raw Kafka protocol: connections, metadata, Fetch and Produce with whole batches. The only place with sockets."""
