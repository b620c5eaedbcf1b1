"""What is remembered of objects: tensors in fixed slots, and files of them."""
