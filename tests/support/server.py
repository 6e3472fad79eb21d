"""What tests that start servers share."""

from tokenwire.engine.protocol import Progress

TIMEOUT_S = 20


def ignore_progress(progress: Progress) -> None:
    """For starts that nobody watches."""
