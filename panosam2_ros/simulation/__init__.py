"""Rendering of synthetic 360 scenes with exact ground truth on the sphere."""
