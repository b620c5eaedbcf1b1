"""Programs for a terminal that talk to the node."""
