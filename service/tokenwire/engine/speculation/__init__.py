"""Guesses at the next tokens, which the model checks several at a time. Imports no torch."""
