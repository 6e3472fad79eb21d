"""Tokenwire: LLM chat over gRPC. This package never imports torch by itself; `tokenwire.engine` does in its process."""

__version__ = "0.1.0"
