"""What runs the conformance table against the driver of a client."""
