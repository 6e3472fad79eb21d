"""The access log: one line for each RPC and each HTTP request. It has no text of the caller's or the model's."""

import logging

from tokenwire.chat.call import Call

_log = logging.getLogger("tokenwire.access")


class AccessLog:
    """Implements `CallObserver`."""

    def called(self, call: Call) -> None:
        """Write the line."""
        fields: dict[str, object] = {
            "method": call.method,
            "code": call.code,
            "seconds": round(call.seconds, 6),
            "request_id": call.caller.log_id,
        }
        if call.reason:
            fields["reason"] = call.reason
        if call.caller.key_id:
            fields["key"] = call.caller.key_id
        if call.completion_id:
            fields["completion_id"] = call.completion_id
            fields["prompt_tokens"] = call.prompt_tokens
            fields["completion_tokens"] = call.completion_tokens
        words = (f"{name}={value}" for name, value in fields.items() if name not in ("method", "code"))
        _log.info("%s %s %s", call.method, call.code, " ".join(words), extra={"fields": fields})
