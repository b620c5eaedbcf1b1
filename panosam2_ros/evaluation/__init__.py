"""How good is good: measures that agree with the field's tools, and the runs that take them."""
