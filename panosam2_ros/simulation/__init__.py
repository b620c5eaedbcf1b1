"""Rendered scenes with exact ground truth: what the virtual camera shows without a camera."""
