"""Administration of topics: a port, and its adapter on confluent-kafka."""
