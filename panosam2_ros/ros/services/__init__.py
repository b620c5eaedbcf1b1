"""The node's services, and prompts by clicked points."""
