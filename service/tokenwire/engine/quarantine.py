"""Which live requests a new engine process is given, and which of them is to blame when it dies.

A request may kill every engine that works on it, and nothing outside of the engine tells which one it was. So each
counts the engine processes that died with it since it gave something. All that an engine has not given is generated
again, and generation is the same again: what killed one engine kills the next one before it gives anything more, and
its count goes up. Those of the others go back to 0 as soon as they are taken up and go on.

After one death all are taken up at once: most deaths are nobody's fault, and nobody is to wait for a proof of that.
After a second one without a sign of life in between, those that were there both times are suspects:

- If there is one, it is the culprit, and fails.
- If there are several, all others are taken up first. When these have gone on, the suspects follow one after the other:
  each has to give something before the next one comes. One that the engine dies with is the culprit. Requests that are
  new wait until then, so that none of them can be mistaken for it.

So a culprit costs three processes at most, and no other request fails. Who else dies by chance in its trial (the system
kills an engine when memory runs out) fails in its place: that takes three deaths in a row without a token.
"""

from collections.abc import Iterable
from typing import Protocol, TypeVar

_SUSPECT_DEATHS = 2


class Suspect(Protocol):
    """A live request, to those who look for a culprit."""

    is_sent: bool
    """Whether the engine process of the moment has it."""
    deaths: int
    """Engine processes that had it and died, since it gave something."""


SuspectT = TypeVar("SuspectT", bound=Suspect)


def next_up(live: Iterable[SuspectT]) -> list[SuspectT]:
    """Those that the engine process may be given now, in order of arrival."""
    everyone = list(live)
    held = [each for each in everyone if not each.is_sent]
    if not any(each.deaths >= _SUSPECT_DEATHS for each in everyone):
        return held
    bystanders = [each for each in held if each.deaths == 1]
    if bystanders or any(each.is_sent and each.deaths for each in everyone):
        return bystanders
    return [each for each in held if each.deaths >= _SUSPECT_DEATHS][:1]


def find_culprit(live: Iterable[SuspectT]) -> SuspectT | None:
    """Count the death of an engine process, which has nobody any more; who is to blame for it, if that is known."""
    suspects = []
    for each in live:
        if each.is_sent:
            each.is_sent = False
            each.deaths += 1
            if each.deaths >= _SUSPECT_DEATHS:
                suspects.append(each)
    return suspects[0] if len(suspects) == 1 else None
