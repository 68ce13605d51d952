"""Compares mirror topics with their sources, offset by offset, by a way of its own: nothing of the mirror's code is used."""
