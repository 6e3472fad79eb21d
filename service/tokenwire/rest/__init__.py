"""The OpenAI-compatible HTTP layer: JSON to contract messages and back, onto the same chat service as gRPC."""
