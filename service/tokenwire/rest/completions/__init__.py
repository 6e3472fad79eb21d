"""`/v1/completions`, the legacy API of OpenAI: prompts as they stand, without a chat template."""
