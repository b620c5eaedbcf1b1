"""Messages to and from what the core works with."""
