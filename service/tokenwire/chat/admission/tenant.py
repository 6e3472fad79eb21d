"""Between whom the queue is fair."""

from typing import NamedTuple


class Tenant(NamedTuple):
    """One who asks for completions. Fairness is between keys, and between the users of a key."""

    key_id: str = ""
    """Name of the API key; empty where the server has no keys."""
    user: str = ""
    """`user` of the request; empty where it has none."""
