"""What an API key allows."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Limits of one API key. None: no limit."""

    models: frozenset[str] | None = None
    """Names of the served models that it may use."""
    max_concurrent: int | None = None
    """Most completions of it that wait or run at once."""
    requests_per_minute: float | None = None
    """Completions begun a minute; up to a minute's worth at once."""
    tokens_per_minute: float | None = None
    """Prompt and generated tokens a minute."""

    def allows(self, model: str) -> bool:
        """Whether the key may use a model."""
        return self.models is None or model in self.models


NO_LIMITS = Quota()
"""Of callers without a key."""
