"""The starts of all programs, which import nothing of weight themselves."""
