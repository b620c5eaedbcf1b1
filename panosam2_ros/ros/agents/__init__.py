"""What programs that talk to a language model do with the node: look, point, ask where it is."""
