"""Annotated 360 video: what training learns from and evaluation measures on. Laboratory."""
