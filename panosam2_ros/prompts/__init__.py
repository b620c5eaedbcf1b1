"""Prompts: checked, and encoded for the network."""
