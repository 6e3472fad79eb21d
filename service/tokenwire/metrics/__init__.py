"""Prometheus metrics, with the suffixes of vLLM's under `tokenwire_`."""
