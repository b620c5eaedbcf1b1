"""Memories of tracked objects: tensors in a fixed number of slots, and files of them."""
