"""An answer's text, which arrives piece by piece, becomes reasoning, content and tool calls."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from tokenwire.chat.reasoning import AFTER_THINK, THINK, THINK_END, Reasoning
from tokenwire.chat.stop import unfinished_suffix
from tokenwire.chat.tool_calls import ToolCallParser
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
    is_complete: Callable[[str], bool] | None = None
    """Whether a content would be a whole answer. Given if and only if `response_format` constrains the content: then
    every character of it counts, and a stop string ends it only where the content before is complete."""

    @property
    def is_constrained(self) -> bool:
        """Whether every character of the content counts."""
        return self.is_complete is not None

    @property
    def marks(self) -> tuple[str, ...]:
        """Texts that structure the answer; special tokens in them are part of the text that is read."""
        marks = (THINK, THINK_END) if self.reasoning is not Reasoning.NONE else ()
        if self.tools is None:
            return marks
        tools = self.tools
        return (*marks, tools.begin, tools.before_name, tools.before_arguments, tools.separator, tools.end)


@dataclass(slots=True)
class Piece:
    """What a piece of text adds to an answer; the three come in this order."""

    reasoning: str = ""
    content: str = ""
    tool_calls: list[ToolCallDelta] = field(default_factory=list)


class _Section(Enum):
    """Where in the answer the text is."""

    BEFORE_THOUGHT = "before thought"
    THOUGHT = "thought"
    AFTER_THOUGHT = "after thought"
    START = "start"
    CONTENT = "content"
    CALLS = "calls"


_FIRST_SECTION = {
    Reasoning.NONE: _Section.START,
    Reasoning.OPEN: _Section.THOUGHT,
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
                piece.tool_calls += self._calls.push(self._take(len(self._held)))
                return False

    def _enter_thought(self, *, is_last: bool) -> bool:
        if self._may_become(THINK) and not is_last:
            return False
        if self._held.startswith(THINK):
            self._take(len(THINK))
            self._section = _Section.THOUGHT
        else:
            self.reasoning_end = 0
            self._section = _Section.START
        return True

    def _read_thought(self, piece: Piece, *, is_last: bool) -> bool:
        end = self._held.find(THINK_END)
        if end < 0:
            num_kept = 0 if is_last else unfinished_suffix(self._held, [THINK_END])
            piece.reasoning += self._take(len(self._held) - num_kept)
            return False
        piece.reasoning += self._take(end)
        self._take(len(THINK_END))
        self.reasoning_end = self._num_pushed - len(self._held)
        self._section = _Section.AFTER_THOUGHT
        return True

    def _skip_gap(self, *, is_last: bool) -> bool:
        if self._form.is_constrained:
            if self._may_become(AFTER_THINK) and not is_last:
                return False
            self._held = self._held.removeprefix(AFTER_THINK)
        else:
            self._held = self._held.lstrip(WHITESPACE)
            if not self._held:
                return False
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
        if self._form.tools is None or self._form.tools.only_at_start:
            piece.content += self._take(len(self._held))
            return False
        trigger = self._form.tools.trigger
        end = self._held.find(trigger)
        if end < 0 and is_last:
            piece.content += self._take(len(self._held))
            return False
        before = (
            self._held[:end] if end >= 0 else self._held[: len(self._held) - unfinished_suffix(self._held, [trigger])]
        )
        piece.content += self._take(len(before.rstrip(WHITESPACE)))
        if end < 0:
            return False
        self._take(self._held.find(trigger))
        self._section = _Section.CALLS
        return True

    def _take(self, length: int) -> str:
        taken, self._held = self._held[:length], self._held[length:]
        return taken

    def _may_become(self, mark: str) -> bool:
        """Whether what is held is the beginning of a mark, but not all of it."""
        return len(self._held) < len(mark) and mark.startswith(self._held)
