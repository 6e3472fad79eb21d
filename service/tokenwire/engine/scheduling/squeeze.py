"""How much a step may hold: less for a while after one that ran out of memory. Imports no torch."""

_STEPS_TO_GROW = 32


class Squeeze:
    """Bounds of a step, halved when one does not fit and doubled when so many have fitted."""

    def __init__(self, *, most_running: int, most_tokens: int, least_tokens: int) -> None:
        """`least_tokens`: with so many beside a token for each running sequence, every prompt gets on."""
        self._most = (most_running, most_tokens)
        self._least_tokens = least_tokens
        self._num_fitting = 0
        self.max_running = most_running
        """Most running sequences."""
        self.max_tokens = most_tokens
        """Token budget."""

    @property
    def is_least(self) -> bool:
        """Whether a step cannot be held smaller."""
        return self.max_running == 1 and self.max_tokens <= 1 + self._least_tokens

    def note_failure(self, *, running: int, tokens: int) -> None:
        """A step of so many tokens, with so many sequences running, did not fit."""
        self._num_fitting = 0
        self.max_running = max(1, min(self.max_running, running) // 2)
        self.max_tokens = max(self.max_running + self._least_tokens, min(self.max_tokens, tokens) // 2)

    def note_success(self) -> None:
        """A step fitted."""
        if (self.max_running, self.max_tokens) == self._most:
            return
        self._num_fitting += 1
        if self._num_fitting == _STEPS_TO_GROW:
            self._num_fitting = 0
            most_running, most_tokens = self._most
            self.max_running = min(2 * self.max_running, most_running)
            self.max_tokens = min(2 * self.max_tokens, most_tokens)
