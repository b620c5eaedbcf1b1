"""Losses, clips and the training loop. Laboratory."""
