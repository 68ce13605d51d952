"""The gRPC API: thin; converts, calls `control`, converts."""
