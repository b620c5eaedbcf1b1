"""Masks on the panorama: label images, cleaning, boundaries."""
