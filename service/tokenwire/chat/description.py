"""How a served model is described to callers."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tokenwire.chat.live.retention import RetentionLimits
from tokenwire.chat.model import ServedModel
from tokenwire.chat.validation.limits import (
    MAX_BAD_WORDS,
    MAX_SCHEMA_BYTES,
    MAX_STOP,
    MAX_STOP_TOKEN_IDS,
    MAX_TOOLS,
    MAX_TOP_LOGPROBS,
)
from tokenwire.v1.models_pb2 import Limits, Model


def describe_model(
    model: ServedModel,
    *,
    max_n: int,
    max_queue: int,
    max_queue_tokens: int,
    max_request_bytes: int,
    retention: RetentionLimits,
    heartbeat_s: float,
) -> Model:
    """The contract's description of a model, with the limits of this server."""
    info = model.info
    created = Timestamp()
    created.FromDatetime(model.created)
    return Model(
        id=model.id,
        created=created,
        system_fingerprint=model.system_fingerprint,
        architecture=info.architecture,
        dtype=info.dtype,
        device=info.device,
        vocabulary_size=info.vocabulary_size,
        context_length=info.context_length,
        kv_cache_tokens=info.kv_cache_tokens,
        limits=Limits(
            max_request_bytes=max_request_bytes,
            max_n=max_n,
            max_stop=MAX_STOP,
            max_top_logprobs=MAX_TOP_LOGPROBS,
            max_stop_token_ids=MAX_STOP_TOKEN_IDS,
            max_queued_choices=max_queue,
            max_queued_tokens=max_queue_tokens,
            max_retain_for=_duration(retention.max_s),
            default_retain_for=_duration(retention.default_s),
            heartbeat_interval=_duration(heartbeat_s),
            max_tools=MAX_TOOLS,
            max_bad_words=MAX_BAD_WORDS,
            max_schema_bytes=MAX_SCHEMA_BYTES,
        ),
        defaults=model.defaults,
        chat_template_sha256=model.template.sha256,
        tokenizer_sha256=model.tokenizer.sha256,
        tool_syntax=model.tool_syntax.name,
        reasoning=model.reasons,
        deterministic=model.deterministic,
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(round(seconds * 1000))
    return duration
