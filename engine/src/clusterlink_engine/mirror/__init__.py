"""The core of a mirrored partition: what may be written, where, and when to stop. No I/O, no clock, no randomness."""
