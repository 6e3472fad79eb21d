"""Python client of Tokenwire. Importing it never imports torch."""
