"""The state topic: what the engine must remember, on the local cluster."""
