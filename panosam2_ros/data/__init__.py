"""Scenes with exact truth on the sphere, and the material that they are made of."""
