"""Shell commands in a document, with what it says that they print."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

ANYTHING = "…"
"""In what is printed: any text within a line; by itself any number of lines."""

_BLOCK = re.compile(r"^```(sh|text)(?: ([\w-]+))?\n(.*?)^```$|^## ([^\n]+)$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A block of commands."""

    command: str
    printed: str = ANYTHING
    terminal: str = ""
    """Runs in a terminal of its own, beside the next ones."""

    @property
    def fails(self) -> bool:
        """Whether the document says so."""
        return re.search("^ERROR:", self.printed, re.MULTILINE) is not None

    def matches(self, output: str) -> bool:
        """Whether this is what the document says."""
        lines = self.printed.rstrip("\n").split("\n")
        pattern = "".join(
            r"(?:.*\n)*?" if line == ANYTHING else ".*".join(map(re.escape, line.split(ANYTHING))) + r"\n"
            for line in lines
        )
        return re.fullmatch(pattern, output if output.endswith("\n") else output + "\n") is not None


def read_recipes(path: Path) -> dict[str, list[Recipe]]:
    """By heading. A block of `text` is what the commands before it print, in the same terminal where one is named."""
    found: dict[str, list[Recipe]] = {}
    heading = ""
    for kind, terminal, text, title in _BLOCK.findall(path.read_text()):
        if title:
            heading = title
            continue
        recipes = found.setdefault(heading, [])
        if kind == "sh":
            recipes.append(Recipe(text, terminal=terminal))
        else:
            place = max(place for place, recipe in enumerate(recipes) if recipe.terminal == terminal)
            recipes[place] = replace(recipes[place], printed=text)
    return found


def substituted(recipe: Recipe, words: Mapping[str, str]) -> Recipe:
    """With other addresses and names in it."""
    command, printed = recipe.command, recipe.printed
    for old, new in words.items():
        command, printed = command.replace(old, new), printed.replace(old, new)
    return replace(recipe, command=command, printed=printed)
