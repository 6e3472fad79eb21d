"""A grammar that is asked about text while that grows, whatever the tokens are. Imports no torch."""

from llguidance import LLMatcher

from tokenwire.engine.grammar.compiler import bytewise


class TextGrammar:
    """A grammar without special tokens that `Engine.check_grammar` has accepted."""

    def __init__(self, grammar: str) -> None:
        """Takes milliseconds to seconds, without the GIL."""
        self._start = bytewise(grammar)

    def follow(self) -> "FollowedText":
        """A new text, empty so far."""
        return FollowedText(self._start.deep_copy())


class FollowedText:
    """A text that grows. A question costs some microseconds for each character of it, not of the whole text."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def push(self, text: str) -> None:
        """The text grows by this."""
        self._matcher.consume_tokens(list(text.encode()))

    def is_complete_with(self, text: str) -> bool:
        """Whether the text would be complete if it ended with this."""
        given = list(text.encode())
        num_taken = self._matcher.try_consume_tokens(given)
        is_complete = num_taken == len(given) and self._matcher.is_accepting()
        self._matcher.rollback(num_taken)
        return is_complete
