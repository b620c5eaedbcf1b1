"""Conversion of messages to and from the core's types."""
