"""How the node is, and what is wrong."""
