"""The clusterlink engine: keeps mirror topics on stock Apache Kafka byte-identical and offset-exact."""

__version__ = "0.1.0"
