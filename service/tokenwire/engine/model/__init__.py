"""From tokens to logits: the model, its weights and its cache."""
