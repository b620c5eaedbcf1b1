"""Masks on the panorama: label images, cleanup and boundary refinement."""
