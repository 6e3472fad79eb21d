"""What the model sees: a request becomes prompt text and prompt tokens."""
