"""Metrics in the form that Prometheus reads."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

OF_KEYS = "tokenwire_key_tokens"
"""The family that tells one caller of others: how much each API key is used."""


class Collected(Protocol):
    """What the library's encoders take."""

    def collect(self) -> Iterable[Metric]:
        """The families, with their samples."""


@dataclass(frozen=True, slots=True)
class WithoutKeys:
    """A registry as callers may see it: without the names of API keys."""

    registry: CollectorRegistry

    def collect(self) -> Iterable[Metric]:
        """All families but that of keys."""
        return (family for family in self.registry.collect() if family.name != OF_KEYS)


def exposition(metrics: Collected, accept: str) -> tuple[bytes, str]:
    """All samples, and their content type. `accept` is that header of the request."""
    encode, content_type = choose_encoder(accept)
    return encode(metrics), content_type
