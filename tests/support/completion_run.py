"""A completion that is fed by hand, with every event of it checked."""

from typing import Any

from google.protobuf.json_format import ParseDict

from support.fake_engine import output
from tokenwire.chat.answer.reader import AnswerForm
from tokenwire.chat.completion import Acceptance, Completion
from tokenwire.chat.model import ServedModel
from tokenwire.chat.parameters import effective_parameters
from tokenwire.engine.protocol import FinishReason, SequenceOutput, TokenLogprobs
from tokenwire.stream import StreamChecker, StreamFolder
from tokenwire.v1.chat_pb2 import ChatCompletion, ChatCompletionEvent, ChatCompletionRequest, ServiceTier

TEXT = AnswerForm()
PROMPT_TOKENS = (1, 300, 301, 302, 303)


class Run:
    """A completion that is fed by hand; every event is checked against the grammar."""

    def __init__(self, model: ServedModel, form: AnswerForm = TEXT, **fields: Any) -> None:
        request = ParseDict({"model": "tiny", **fields}, ChatCompletionRequest())
        parameters = effective_parameters(request, prompt_tokens=len(PROMPT_TOKENS), context_length=512)
        self.completion = Completion(
            Acceptance.now(),
            request,
            parameters=parameters,
            model=model,
            prompt_token_ids=PROMPT_TOKENS,
            form=form,
            service_tier=ServiceTier.SERVICE_TIER_FLEX,
        )
        self.aborted: list[int] = []
        self._checker = StreamChecker()
        self._folder = StreamFolder()
        self.take(self.completion.started())

    def feed(self, *outputs: SequenceOutput) -> list[ChatCompletionEvent]:
        """What one `receive()` leads to."""
        return [self.take(event) for event in self.completion.events(outputs, abort=self.aborted.append)]

    def end(self) -> ChatCompletion:
        self.take(self.completion.completed())
        self._checker.end()
        return self._folder.completion

    def take(self, event: ChatCompletionEvent) -> ChatCompletionEvent:
        """Check and fold an event."""
        self._checker.check(event)
        self._folder.add(event)
        return event


def tokens_of(model: ServedModel, *texts: str) -> list[int]:
    """The one token of each text."""
    ids = [model.tokenizer.encode_text(text) for text in texts]
    assert all(len(token_ids) == 1 for token_ids in ids)
    return [token_ids[0] for token_ids in ids]


def scored(*token_ids: int, finish: FinishReason | None = None) -> SequenceOutput:
    """An output with log-probabilities."""
    return output(*token_ids, finish=finish, logprobs=tuple(TokenLogprobs(-1.0, ((i, -1.0),)) for i in token_ids))
