"""Boxes of a detector: judged, laid onto the sphere, and compared with the objects that are known."""
