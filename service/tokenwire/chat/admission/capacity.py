"""A bounded amount of something that tenants share, of which no one can take all."""

from collections import Counter

from tokenwire.chat.admission.tenant import Tenant

_USER_SHARE, _KEY_SHARE = 16, 64
"""A user may hold at most so many times what is left free, a key so many times. The wider bound of keys leaves room to
the other users of a key."""


class Capacity:
    """Choices or tokens, up to `most` of them at once.

    What one may hold depends on what is free (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory
    packet switches", 1998). One tenant alone gets 16/17 of all, and the rest is there for the next who comes; two who
    ask without end come to hold the same. Nobody's place is ever taken back.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0
        self._by_user: Counter[Tenant] = Counter()
        self._by_key: Counter[str] = Counter()

    def has_room(self, tenant: Tenant, amount: int) -> bool:
        """Whether a tenant may take so much. Always where nothing is held: who asks for more than `most` would else
        never get it."""
        free = self.most - self.held
        return self.held == 0 or (
            amount <= free
            and self._by_user[tenant] + amount <= _USER_SHARE * free
            and self._by_key[tenant.key_id] + amount <= _KEY_SHARE * free
        )

    def held_by(self, tenant: Tenant) -> int:
        """What a tenant holds."""
        return self._by_user[tenant]

    def take(self, tenant: Tenant, amount: int) -> None:
        """Take so much, whether there is room or not."""
        self.held += amount
        self._by_user[tenant] += amount
        self._by_key[tenant.key_id] += amount

    def give_back(self, tenant: Tenant, amount: int) -> None:
        """What was taken is free again."""
        self.held -= amount
        self._by_user[tenant] -= amount
        self._by_key[tenant.key_id] -= amount
        if not self._by_user[tenant]:  # who holds nothing is forgotten, for there is no end of names
            del self._by_user[tenant]
        if not self._by_key[tenant.key_id]:
            del self._by_key[tenant.key_id]
