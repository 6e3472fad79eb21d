"""`/v1/chat/completions`: JSON of the OpenAI API to the messages of the contract, and back."""
