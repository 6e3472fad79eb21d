"""Which sequence works on what, and where its keys and values are. Imports no torch."""
