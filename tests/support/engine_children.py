"""The engine processes that this process has."""

import psutil


def engine_children(program: str = "tokenwire.engine.process") -> list[psutil.Process]:
    """Those that run this module or script."""
    return [child for child in psutil.Process().children() if program in child.cmdline()]
