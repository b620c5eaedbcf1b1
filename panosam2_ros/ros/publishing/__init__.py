"""What the node publishes of an image."""
