"""Prompted objects through a stream: the tracker and what it is made of."""
