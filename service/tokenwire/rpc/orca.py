"""Load reports in trailers, which stock gRPC clients balance by: `xds.data.orca.v3.OrcaLoadReport` (gRFC A51, A58).

It is written here field by field. The package with the generated message, xds-protos, puts older files in the place of
those of `google.rpc` and `opentelemetry.proto`, and OpenTelemetry's exporter breaks.
"""

import struct

from tokenwire.chat.load import ServiceLoad

ORCA_KEY = "endpoint-load-metrics-bin"

# Tags of the message's fields: number and wire type (1: eight bytes, 2: bytes with a length before them).
_RPS_FRACTIONAL = bytes([6 << 3 | 1])
_NAMED_METRICS = bytes([8 << 3 | 2])
_APPLICATION_UTILIZATION = bytes([9 << 3 | 1])
_MAP_KEY = bytes([1 << 3 | 2])
_MAP_VALUE = bytes([2 << 3 | 1])


def load_report(load: ServiceLoad) -> bytes:
    """The serialised report of a load: utilization, requests a second, and figures under names."""
    named = {
        "kv_cache_usage": load.kv_cache_usage,
        "running_choices": float(load.running_choices),
        "waiting_choices": float(load.waiting_choices),
        "estimated_wait_s": load.estimated_wait_s or 0.0,
    }
    parts = [
        _RPS_FRACTIONAL,
        _double(load.requests_per_second),
        _APPLICATION_UTILIZATION,
        _double(load.utilization),
    ]
    for name, value in named.items():
        entry = _MAP_KEY + _sized(name.encode()) + _MAP_VALUE + _double(value)
        parts += [_NAMED_METRICS, _sized(entry)]
    return b"".join(parts)


def _double(value: float) -> bytes:
    return struct.pack("<d", value)


def _sized(data: bytes) -> bytes:
    """With the length, below 128, before it."""
    return bytes([len(data)]) + data
