"""Contract messages → JSON of a legacy completion."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tokenwire.rest.chat.answers import FINISH_REASONS, JsonObject, extension_json, service_tier_json, usage_json
from tokenwire.rest.completions.logprobs import LogprobColumns
from tokenwire.rest.completions.requests import ParsedCompletion
from tokenwire.v1.chat_pb2 import ChatCompletion, Choice, Started, Usage


@dataclass(frozen=True, slots=True)
class Echo:
    """A prompt as a part of the answer."""

    text: str
    first_token: str
    """The only one without a probability."""

    def begin(self, columns: LogprobColumns) -> None:
        """Put the first token into the columns."""
        columns.add_first(self.first_token, is_in_text=self.text.startswith(self.first_token))


def envelope(first: ChatCompletion | Started) -> JsonObject:
    """What the answer and all its chunks have; of the first prompt where there are several."""
    return {
        "id": first.id.replace("chatcmpl-", "cmpl-", 1),
        "object": "text_completion",
        "created": first.created.seconds,
        "model": first.model,
        "system_fingerprint": first.system_fingerprint,
        "service_tier": service_tier_json(first.service_tier),
    }


def completion_json(
    parsed: ParsedCompletion, completions: Sequence[ChatCompletion], echoes: Sequence[Echo | None]
) -> JsonObject:
    """The answer to a unary request: one completion and one echo a prompt."""
    choices: list[JsonObject] = []
    for completion, echo in zip(completions, echoes, strict=True):
        for choice in _best(completion.choices, parsed.n):
            columns = _columns(parsed, completion, choice, echo)
            text, reason = echo.text if echo else "", "length"
            if not parsed.scores_only:
                text, reason = text + choice.content, FINISH_REASONS[choice.finish_reason]
            choices.append(choice_json(len(choices), text, columns, reason))
    return {
        **envelope(completions[0]),
        "choices": choices,
        "usage": usage_json(total_usage((completion.usage for completion in completions), parsed)),
        "tokenwire": extension_json(completions[0].parameters),
    }


def choice_json(index: int, text: str, logprobs: JsonObject | None, finish_reason: str | None) -> JsonObject:
    """A choice, or a part of one."""
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}


def total_usage(parts: Iterable[Usage], parsed: ParsedCompletion) -> Usage:
    """Of all prompts together. What nobody asked for is not told."""
    total = Usage()
    for part in parts:
        total.prompt_tokens += part.prompt_tokens
        total.cached_prompt_tokens += part.cached_prompt_tokens
        total.completion_tokens += 0 if parsed.scores_only else part.completion_tokens
    total.total_tokens = total.prompt_tokens + total.completion_tokens
    return total


def _columns(
    parsed: ParsedCompletion, completion: ChatCompletion, choice: Choice, echo: Echo | None
) -> JsonObject | None:
    if parsed.logprobs is None:
        return None
    columns = LogprobColumns()
    if echo is not None:
        echo.begin(columns)
        columns.add(completion.prompt_logprobs)
    if not parsed.scores_only:
        columns.add(choice.logprobs)
    return columns.take()


def _best(choices: Sequence[Choice], n: int) -> Iterator[Choice]:
    """Those with the highest log-probability a token, best first; as they are where no more than `n` were made."""
    if len(choices) <= n:
        yield from choices
        return

    def mean(choice: Choice) -> float:
        return sum(token.logprob for token in choice.logprobs) / max(len(choice.logprobs), 1)

    yield from sorted(choices, key=mean, reverse=True)[:n]
