"""Commands that call the node."""
