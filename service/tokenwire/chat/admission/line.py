"""Requests of one priority that wait for their turn, in fair order."""

from bisect import bisect_left, insort
from operator import attrgetter

from tokenwire.chat.admission.place import Place
from tokenwire.chat.admission.service_counters import INPUT_TOKEN, OUTPUT_TOKEN, ServiceCounters
from tokenwire.chat.admission.tenant import Tenant

_DUE = attrgetter("due_s", "order")


class Line:
    """The key with the least service is next; of it the user with the least; of that one, the request due first.

    Keys come before users, so that none gains by inventing users.
    """

    def __init__(self) -> None:
        self._keys = ServiceCounters()
        self._users: dict[str, ServiceCounters] = {}
        self._waiting: dict[str, dict[str, list[Place]]] = {}  # by key, by user, in order
        self._sizes: dict[str, int] = {}  # requests by key
        self.num_requests = 0
        self.num_choices = 0
        self.prompt_tokens = 0
        self.answer_tokens = 0.0

    def add(self, place: Place) -> None:
        """Put a request in line."""
        key_id, user = place.tenant
        if key_id not in self._waiting:
            self._keys.begin_waiting(key_id)
            self._waiting[key_id] = {}
            self._sizes[key_id] = 0
            self._users.setdefault(key_id, ServiceCounters())
        users = self._waiting[key_id]
        if user not in users:
            self._users[key_id].begin_waiting(user)
            users[user] = []
        insort(users[user], place, key=_DUE)
        self._sizes[key_id] += 1
        self._count(place, 1)

    def remove(self, place: Place) -> None:
        """Take a waiting request out."""
        key_id, user = place.tenant
        own = self._waiting[key_id][user]
        del own[bisect_left(own, _DUE(place), key=_DUE)]
        self._sizes[key_id] -= 1
        if not own:
            del self._waiting[key_id][user]
            self._users[key_id].end_waiting(user)
        if not self._waiting[key_id]:
            del self._waiting[key_id], self._sizes[key_id]
            self._keys.end_waiting(key_id)
        self._count(place, -1)

    def next(self) -> Place:
        """The request whose turn it is; it stays in line. There must be one."""
        key_id = self._keys.choose()
        user = self._users[key_id].choose()
        return self._waiting[key_id][user][0]

    def charge(self, tenant: Tenant, service: float) -> None:
        """A tenant, which has been in line, has had service."""
        self._keys.charge(tenant.key_id, service)
        self._users[tenant.key_id].charge(tenant.user, service)

    def num_before(self, place: Place) -> float:
        """About how many requests begin before one that waits, or that would wait, if all are of mean size."""
        key_id, user = place.tenant
        users = self._waiting.get(key_id, {})
        own: float = bisect_left(users.get(user, []), _DUE(place), key=_DUE)
        cost = self._mean_cost()
        if users:
            sizes = {name: len(places) for name, places in users.items()}
            own = self._users[key_id].num_before(user, own, sizes=sizes, cost=cost)
        return self._keys.num_before(key_id, own, sizes=self._sizes, cost=cost)

    def _mean_cost(self) -> float:
        cost = INPUT_TOKEN * self.prompt_tokens + OUTPUT_TOKEN * self.answer_tokens
        return max(1.0, cost / max(self.num_requests, 1))

    def _count(self, place: Place, sign: int) -> None:
        self.num_requests += sign
        self.num_choices += sign * place.num_choices
        self.prompt_tokens += sign * place.demand.prompt_tokens
        self.answer_tokens += sign * place.num_choices * place.expected_answer
