"""Annotated 360 video for training and evaluation. Laboratory."""
