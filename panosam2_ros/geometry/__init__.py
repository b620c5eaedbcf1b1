"""Geometry of panoramas: pixel grids, projections, bearings and the rotation of the camera."""
