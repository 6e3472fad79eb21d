"""One choice of a completion: its tokens become parts that no stop string can reach, log-probabilities beside them."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from tokenwire.chat.answer.detokenizer import Detokenizer
from tokenwire.chat.answer.logprobs import token_logprob
from tokenwire.chat.answer.reader import AnswerForm, AnswerParser, Piece
from tokenwire.chat.answer.stop import StopMatcher
from tokenwire.chat.answer.tool_calls import merge
from tokenwire.chat.tokenizer import ChatTokenizer
from tokenwire.engine.protocol import TokenLogprobs
from tokenwire.v1.chat_pb2 import Delta, TokenLogprob, ToolCallDelta


@dataclass(frozen=True, slots=True)
class _Held:
    """A log-probability and the characters of the choice's text, [start, end), that its token takes part in."""

    start: int
    end: int
    message: TokenLogprob


@dataclass(slots=True)
class _Released:
    """What the caller may have, and has not taken yet."""

    content: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCallDelta] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.content or self.reasoning or self.tool_calls or self.logprobs)


class ChoiceText:
    """The text of one choice, in parts, released as far as it is final.

    The text is all that the model writes: tags and marks, which no part has, are in it, too. Log-probabilities are
    released once the last character of their token is final, so their bytes, joined, begin with the parts released. At
    a stop match those of tokens that lie wholly inside the match are dropped.
    """

    def __init__(self, tokenizer: ChatTokenizer, *, form: AnswerForm, stop: Sequence[str], min_tokens: int) -> None:
        """Stop strings are looked for in the content that follows the first `min_tokens` tokens."""
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer, marks=form.marks, keeps_leading_spaces=form.is_constrained)
        self._parser = AnswerParser(form)
        self._matcher = StopMatcher(stop, followed=form.follow_content() if form.follow_content else None)
        self._has_stops = bool(stop)
        self._min_tokens = min_tokens
        self._num_decoded = 0  # characters
        self._search_start = 0  # in characters of the text
        self._num_content = 0  # characters released
        self._num_before_reasoning_end = 0  # tokens
        self._released = _Released()
        self._held: deque[_Held] = deque()
        self.num_tokens = 0
        self.has_calls = False
        """Whether the model has called a tool."""
        self.match: str | None = None
        """The stop string that ended the text."""

    @property
    def num_reasoning_tokens(self) -> int:
        """Tokens of the reasoning, its tags included."""
        return self._num_before_reasoning_end if self._parser.reasoning_end else 0

    @property
    def takes_runs(self) -> bool:
        """Whether nothing depends on where one token ends and the next begins, as long as none is scored."""
        return not self._has_stops and self._num_decoded >= self._parser.reasoning_end

    def push_run(self, token_ids: Sequence[int]) -> None:
        """Take the next tokens at once, none of them scored or silent; only where `takes_runs`."""
        self.num_tokens += len(token_ids)
        text = self._detokenizer.decode(self._detokenizer.take_run(token_ids))
        self._num_decoded += len(text)
        self._take_piece(self._parser.push(text))

    def push(self, token_id: int, logprobs: TokenLogprobs | None = None, *, silent: bool = False) -> None:
        """Take the next token. A silent one (which ends the choice) counts but has no text."""
        self.num_tokens += 1
        start = self._num_decoded
        raw = b"" if silent else self._detokenizer.take_bytes(token_id)
        text = self._detokenizer.decode(raw)
        self._num_decoded += len(text)
        if self.num_tokens <= self._min_tokens:
            self._search_start = self._num_decoded
        if logprobs is not None:
            message = token_logprob(self._tokenizer, token_id, logprobs, token_bytes=raw)
            self._held.append(_Held(start, self._num_decoded + self._detokenizer.has_partial, message))
        self._take_piece(self._parser.push(text))
        self._num_before_reasoning_end += not silent and start < self._parser.reasoning_end

    def end(self) -> None:
        """The choice got its last token: release what was held back, unless that completes a stop string."""
        text = self._detokenizer.flush()
        self._num_decoded += len(text)
        self._take_piece(self._parser.push(text, is_last=True))
        if self.match is None:
            self._add_content(self._matcher.flush())
            self._release_logprobs_before(self._num_decoded + 1)

    def take(self, index: int) -> Delta | None:
        """What has been released since the last call, if anything, as a delta of the choice of this index."""
        released = self._released
        if released.is_empty:
            return None
        self._released = _Released()
        return Delta(
            index=index,
            content=released.content,
            reasoning=released.reasoning,
            tool_calls=released.tool_calls,
            logprobs=released.logprobs,
        )

    def _take_piece(self, piece: Piece) -> None:
        self._released.reasoning += piece.reasoning
        if piece.content:
            self._take_content(piece.content)
        if self.match is None and self._parser.has_calls:
            self._add_content(self._matcher.flush())
        if self.match is None and piece.tool_calls:
            self.has_calls = True
            merge(self._released.tool_calls, piece.tool_calls)
        self._release_logprobs()

    def _take_content(self, content: str) -> None:
        if not self._has_stops:
            self._add_content(content)
            return
        num_skipped = max(0, self._search_start - self._parser.content_start - self._num_content)
        self._matcher.skip(content[:num_skipped])
        result = self._matcher.push(content[num_skipped:])
        self._add_content(content[:num_skipped] + result.text)
        self.match = result.match

    def _add_content(self, content: str) -> None:
        self._num_content += len(content)
        self._released.content += content

    def _release_logprobs(self) -> None:
        if self.match is not None:
            self._release_logprobs_before(self._parser.content_start + self._num_content)
            return
        num_final = self._parser.num_settled - self._matcher.num_held
        while self._held and self._held[0].end <= num_final:
            self._released.logprobs.append(self._held.popleft().message)

    def _release_logprobs_before(self, end: int) -> None:
        """Release those of tokens that begin before a character, drop the others."""
        self._released.logprobs.extend(held.message for held in self._held if held.start < end)
        self._held.clear()
