"""Measures that agree with the field's tools, and the runs that take them."""
