"""Geometry of panoramas: no network, no state."""
