"""Diagnostics: what is measured, what is found wrong, and how both are reported."""
