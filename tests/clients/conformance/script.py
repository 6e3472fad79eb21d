"""The steps of a case for the scripted engine.

A step is a mapping, or a list of them that come at once:
  text, bytes        tokens of this text, or one token for each of these bytes (hexadecimal)
  choice             which choice gets them; by default all
  end                stop (an end-of-text token follows), stop_token (the last token is it), length, complete,
                     constraint_failed or fault
  logprobs           log-probabilities of the tokens of the text, where the request asks for them; by default -0.5
  prompt_logprobs    true: those of the prompt come, each -1.5
  wait               nothing comes until the server has sent an event of this kind to the client; `call`: until its call
                     has come; `cut 2`: until the second cut; `forever`: until the end
  fault              the engine fails, with this message
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from support.fake_engine import FakeEngine, Script, Step, output
from tokenwire.engine.protocol import FinishReason, GenerationRequest, SequenceOutput, TokenLogprobs
from tokenwire.errors import EngineFaultError

END_OF_TEXT = 2


class ScriptWriter:
    """Makes scripts of steps, for an engine that has started by the time they are played."""

    def __init__(self, engine: FakeEngine, *, sent: Callable[[str], asyncio.Event]) -> None:
        """`sent` gives the event that is set when the server has sent an event of a kind."""
        assert engine.info is not None
        self._engine = engine
        self._sent = sent
        self._tokenizer = Tokenizer.from_file(str(Path(engine.info.model_path) / "tokenizer.json"))

    def script(self, steps: Sequence[Any]) -> Script:
        """What `FakeEngine` plays."""
        return lambda request: [self._step(step, request) for step in steps]

    def _step(self, given: Any, request: GenerationRequest) -> Step:
        if isinstance(given, list):
            return [made for part in given for made in self._outputs(part, request)]
        if "wait" in given:
            return self._sent(given["wait"])
        if "fault" in given:
            return EngineFaultError(given["fault"])
        return list(self._outputs(given, request))

    def _outputs(self, given: Mapping[str, Any], request: GenerationRequest) -> Iterator[SequenceOutput]:
        tokens = self._tokens(given)
        top = request.sampling.top_logprobs
        values = given.get("logprobs", [-0.5] * len(tokens))
        if (end := given.get("end")) == "stop":
            tokens.append(END_OF_TEXT)
            values = [*values, -0.25]
        scored = () if top is None else zip(tokens, values, strict=True)
        scores = tuple(_score(token, value, top or 0) for token, value in scored)
        prompt = request.prompt_token_ids[1:] if given.get("prompt_logprobs") else ()
        prompt_scores = tuple(_score(token, -1.5, request.prompt_logprobs or 0) for token in prompt)
        reason = None if end is None else FinishReason(end.removesuffix("_token"))
        for index in range(request.n) if "choice" not in given else [given["choice"]]:
            made = output(*tokens, index=index, finish=reason, logprobs=scores)
            yield made._replace(prompt_logprobs=prompt_scores)

    def _tokens(self, given: Mapping[str, Any]) -> list[int]:
        if "bytes" not in given:
            return list(self._tokenizer.encode(given.get("text", ""), add_special_tokens=False).ids)
        assert self._engine.vocabulary is not None
        known = self._engine.vocabulary.token_bytes
        return [known.index(bytes([byte])) for byte in bytes.fromhex(given["bytes"])]


def _score(token_id: int, logprob: float, top: int) -> TokenLogprobs:
    """The token's own log-probability, and those of so many tokens that are most likely: it and those behind it."""
    return TokenLogprobs(logprob, tuple((token_id + rank, logprob - rank) for rank in range(top)))
