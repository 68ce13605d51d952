"""Measures the engine beside MirrorMaker 2, a loop of two clients, and the limits of the machine; `make bench` runs it."""
