"""Prompts for a load test: varied, and each one different, so that a prefix cache helps as little as in real use."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import cycle, product
from pathlib import Path

Cut = Callable[[str, int], Awaitable[str]]
"""Gives the first so many tokens of a text."""

_TASKS = (
    "Explain how {topic} works",
    "Write a short story about {topic}",
    "List five facts about {topic}",
    "Compare {topic} with its closest alternative",
    "Write a dialogue between two friends about {topic}",
    "Give step by step instructions for someone new to {topic}",
    "Summarise the history of {topic}",
    "Describe a common mistake with {topic} and how to avoid it",
)
_TOPICS = (
    *("bread baking", "tidal power", "chess openings", "the printing press", "beekeeping", "glaciers"),
    *("compilers", "jazz harmony", "coffee roasting", "suspension bridges", "photosynthesis", "sailing knots"),
    *("public libraries", "volcanoes", "bicycle gears", "the immune system", "stained glass", "railway signals"),
)
_READERS = ("a child", "an expert", "a busy manager", "a curious neighbour", "a student", "a journalist")


async def make_prompts(
    *, file: Path | None = None, prompt_tokens: int | None = None, cut: Cut | None = None
) -> AsyncIterator[str]:
    """Endless prompts: the lines of the file in turn, or built-in ones, cut or drawn out to about `prompt_tokens`.

    Without `cut` a word counts as a token.
    """
    texts = _read(file) if file else _built_in()
    random.Random(0).shuffle(texts)
    words = [word for topic in _TOPICS for word in topic.split()]
    for number, text in enumerate(cycle(texts)):
        if prompt_tokens is None:
            yield text
            continue
        filling = " ".join(random.Random(number).choices(words, k=prompt_tokens))
        yield await (cut or _cut_words)(f"{text} {filling}", prompt_tokens)


async def _cut_words(text: str, num_words: int) -> str:
    return " ".join(text.split()[:num_words])


def _built_in() -> list[str]:
    return [f"{task.format(topic=topic)} for {reader}." for task, topic, reader in product(_TASKS, _TOPICS, _READERS)]


def _read(file: Path) -> list[str]:
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    texts = [line for line in lines if line]
    if not texts:
        raise ValueError(f"{file} has no prompt: one a line is expected")
    return texts
