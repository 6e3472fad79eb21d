"""An answer's text, which arrives piece by piece, becomes reasoning, content and tool calls."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from tokenwire.chat.answer.reasoning import AFTER_THINK, THINK, THINK_END, Reasoning
from tokenwire.chat.answer.stop import GrowingText, unfinished_suffix
from tokenwire.chat.answer.tool_calls import ToolCallParser
from tokenwire.chat.tool_syntax import ToolSyntax
from tokenwire.v1.chat_pb2 import ToolCallDelta

WHITESPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """How to read an answer."""

    reasoning: Reasoning = Reasoning.NONE
    tools: ToolSyntax | None = None
    """The syntax of the calls to look for; None: none are looked for."""
    is_named: bool = False
    """`tool_choice` names a function: its call is what the answer is, so the finish reason is STOP."""
    is_constrained: bool = False
    """`response_format` constrains the content: every character of it counts."""
    follow_content: Callable[[], GrowingText] | None = None
    """Where the content is constrained and there are stop strings: follows a content, to say where it may end."""

    @property
    def marks(self) -> tuple[str, ...]:
        """Texts that structure the answer; special tokens in them are part of the text that is read."""
        marks = (THINK, THINK_END) if self.reasoning is not Reasoning.NONE else ()
        if self.tools is None:
            return marks
        return (*marks, *self.tools.marks)


@dataclass(slots=True)
class Piece:
    """What a piece of text adds to an answer; the three come in this order."""

    reasoning: str = ""
    content: str = ""
    tool_calls: list[ToolCallDelta] = field(default_factory=list)


class _Section(Enum):
    """Where in the answer the text is."""

    BEFORE_THOUGHT = "before thought"
    THOUGHT_START = "thought start"
    THOUGHT = "thought"
    AFTER_THOUGHT = "after thought"
    START = "start"
    CONTENT = "content"
    CALLS = "calls"


_FIRST_SECTION = {
    Reasoning.NONE: _Section.START,
    Reasoning.OPEN: _Section.THOUGHT_START,
    Reasoning.POSSIBLE: _Section.BEFORE_THOUGHT,
}


class AnswerParser:
    """Reads one answer. What comes out does not depend on how the text was cut into pieces.

    Tags, marks and the whitespace around them are left out. Held back is only what may still become one of these.
    """

    def __init__(self, form: AnswerForm) -> None:
        self._form = form
        self._section = _FIRST_SECTION[form.reasoning]
        self._calls = ToolCallParser(form.tools) if form.tools is not None else None
        self._looks_for_calls = form.tools is not None and not form.tools.only_at_start  # in the content
        self._num_pushed = 0  # characters
        self._held = ""
        self.reasoning_end = 0.0 if form.reasoning is Reasoning.NONE else math.inf
        """How many characters the reasoning has, its tags included; infinite while it goes on or may yet begin."""
        self.content_start = 0
        """The content is one stretch of the text; it begins behind this many characters, once it begins."""

    @property
    def num_settled(self) -> int:
        """Number of characters of which it is clear what they are."""
        return self._num_pushed - len(self._held) - (self._calls.num_held if self._calls else 0)

    @property
    def has_calls(self) -> bool:
        """Whether the text has come to the calls: there is no more content."""
        return self._section is _Section.CALLS

    def push(self, text: str, *, is_last: bool = False) -> Piece:
        """Take the next piece of the text. Of the last piece nothing is held back."""
        self._num_pushed += len(text)
        if self._section is _Section.CONTENT and not self._looks_for_calls:
            return Piece(content=text)
        self._held += text
        piece = Piece()
        while self._step(piece, is_last=is_last):
            pass
        return piece

    def _step(self, piece: Piece, *, is_last: bool) -> bool:
        """Read up to the end of the section in which the text is; whether it was there."""
        match self._section:
            case _Section.BEFORE_THOUGHT:
                return self._enter_thought(is_last=is_last)
            case _Section.THOUGHT_START:
                return self._skip_whitespace(_Section.THOUGHT)
            case _Section.THOUGHT:
                return self._read_thought(piece, is_last=is_last)
            case _Section.AFTER_THOUGHT:
                return self._skip_gap(is_last=is_last)
            case _Section.START:
                return self._enter_content(is_last=is_last)
            case _Section.CONTENT:
                return self._read_content(piece, is_last=is_last)
            case _Section.CALLS:
                assert self._calls is not None
                piece.tool_calls += self._calls.push(self._held)
                self._held = ""
                return False

    def _enter_thought(self, *, is_last: bool) -> bool:
        if self._may_become(THINK) and not is_last:
            return False
        if self._held.startswith(THINK):
            self._held = self._held.removeprefix(THINK)
            self._section = _Section.THOUGHT_START
        else:
            self.reasoning_end = 0
            self._section = _Section.START
        return True

    def _skip_whitespace(self, following: _Section) -> bool:
        self._held = self._held.lstrip(WHITESPACE)
        if self._held:
            self._section = following
        return bool(self._held)

    def _read_thought(self, piece: Piece, *, is_last: bool) -> bool:
        thought, is_closed = self._read_up_to(THINK_END, is_last=is_last)
        piece.reasoning += thought
        if is_closed:
            self.reasoning_end = self._num_pushed - len(self._held)
            self._section = _Section.AFTER_THOUGHT
        return is_closed

    def _skip_gap(self, *, is_last: bool) -> bool:
        if not self._form.is_constrained:
            return self._skip_whitespace(_Section.START)
        if self._may_become(AFTER_THINK) and not is_last:
            return False
        self._held = self._held.removeprefix(AFTER_THINK)
        self._section = _Section.START
        return True

    def _enter_content(self, *, is_last: bool) -> bool:
        self.content_start = self._num_pushed - len(self._held)
        self._section = _Section.CONTENT
        if self._form.tools is not None and self._form.tools.only_at_start:
            if self._may_become(self._form.tools.trigger) and not is_last:
                self._section = _Section.START
                return False
            if self._held.startswith(self._form.tools.trigger):
                self._section = _Section.CALLS
        return True

    def _read_content(self, piece: Piece, *, is_last: bool) -> bool:
        if not self._looks_for_calls:
            piece.content += self._held
            self._held = ""
            return False
        assert self._form.tools is not None
        content, has_calls = self._read_up_to(self._form.tools.trigger, is_last=is_last)
        piece.content += content
        if has_calls:
            self._held = self._form.tools.trigger + self._held
            self._section = _Section.CALLS
        return has_calls

    def _read_up_to(self, mark: str, *, is_last: bool) -> tuple[str, bool]:
        """Text before a mark, without whitespace before that, as far as it is clear; and whether the mark was there."""
        text, found, rest = self._held.partition(mark)
        if found:
            self._held = rest
            return text.rstrip(WHITESPACE), True
        if not is_last:
            text = text[: len(text) - unfinished_suffix(text, [mark])].rstrip(WHITESPACE)
        self._held = self._held[len(text) :]
        return text, False

    def _may_become(self, mark: str) -> bool:
        """Whether what is held is the beginning of a mark, but not all of it."""
        return len(self._held) < len(mark) and mark.startswith(self._held)
