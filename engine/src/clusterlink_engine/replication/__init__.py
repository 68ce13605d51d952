"""Drives the core: sources fetch, cursors hold a partition each, sinks write, probers read the mirror's log ends.

A source belongs to a broker of a remote cluster, sinks and a prober to a broker of the local one. A cursor moves between
them when leadership does. Everything belongs to one event loop.
"""
