"""The gRPC layer: thin servicers on the chat service, status mapping, health, reflection."""
