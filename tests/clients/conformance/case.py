"""The cases of the conformance table: read from YAML, every key checked (README.md)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

TABLE = Path(__file__).parents[1] / "table"
FILLER = "$filler"
CALLS = ("create", "stream", "resume", "get", "cancel", "list_models")
STEPS = {"text", "bytes", "choice", "end", "logprobs", "prompt_logprobs", "wait", "fault"}
"""Keys of the engine's steps: see script.py."""
EDITED = {"started", "prompt_logprobs", "delta", "finished", "completed", "answer"}
"""What an `Edit` may name."""

Part = TypeVar("Part")
Json = Mapping[str, Any]


class TableError(Exception):
    """The table has something that nobody understands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSetup:
    """How the server is started; what is not said is as by default."""

    heartbeat_s: float | None = None
    tls: str = ""
    """`server`: it has a certificate. `mutual`: it asks for one of the client, too."""
    key: Json | None = None
    """It knows one API key, with these fields."""
    template: str = ""
    """`reasoning`: the model's chat template has reasoning."""
    refuses_grammars: str = ""
    """The engine refuses every grammar, for this reason."""
    decode_step_s: float | None = None
    """The engine's estimate of the time that a step takes."""
    max_running: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """A stream that the runner itself has asked for when the client comes: its id is `$id`, the sequence of the last
    event that was read `$sequence`."""

    stream: Json
    read: int | None = None
    """So many events are read; None: all."""
    leave: bool = False
    """Then it is left."""
    times: int = 1
    """So many streams, one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What the client is told to call."""

    method: str
    request: Json
    timeout_s: float | None = None
    auto_resume: bool = False
    leave_after_events: int | None = None
    cancel_after_s: float | None = None
    api_key: str = ""
    """`$key` is the one that the server knows."""
    fill_bytes: int = 0
    """`$filler` in the request is a text of so many bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raise:
    """The handler fails: with an error of `tokenwire.errors` or of Python, of which the real mapping makes a status."""

    error: str
    arguments: Json = field(default_factory=dict)
    of: str = ""
    """Only calls of this method; empty: all."""
    after_events: int = 0
    times: int | None = None
    """Only the first so many calls; None: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Instead of an answer comes this status, byte by byte."""

    code: str
    message: str = ""
    details: str | None = None
    """`grpc-status-details-bin` in hexadecimal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """All connections are cut when a call has given so many events."""

    after_events: Sequence[int]
    """One a call; calls behind the last one are not cut."""
    for_good: bool = False
    """After that the server is not reached any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """The first event of a kind (of a unary answer: `answer`) is dropped, changed, or gets another beside it."""

    drop: str = ""
    change: str = ""
    before: str = ""
    after: str = ""
    event: Json = field(default_factory=dict)
    """Merged into it, or the event to send, whose `sequence` is that of its neighbour, and one more or less where it is
    no heartbeat."""
    raw: str = ""
    """Bytes in hexadecimal that are merged into the message, too: fields that the contract does not have."""
    fill_bytes: int = 0
    """`$filler` in the event is a text of so many bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Twist:
    """What a real front end never does, or does seldom."""

    edits: Sequence[Edit] = ()
    raises: Raise | None = None
    status: Status | None = None
    cut: Cut | None = None
    cancel_after_events: int | None = None
    """Somebody else cancels the completion when its stream has given so many events."""
    hold_after_events: int | None = None
    """A call gives so many events, and then no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedError:
    """The error that the client raises."""

    code: str | Sequence[str]
    """Or one of several."""
    reason: str | Sequence[str] = ""
    """Or one of several."""
    violations: Sequence[str] | None = None
    """Their fields, in order."""
    retry_after_s: float | bool | None = False
    """True: any; False: none; None: either."""
    metadata: Sequence[str] | Json = ()
    """Keys, or keys and values."""
    message: str = ""
    """Is in its message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What the client gives."""

    texts: Sequence[str] | None = None
    """Contents of the choices."""
    completion: Json | None = None
    """Fields of the answer, which may have others."""
    kinds: Sequence[str] = ()
    """Kinds of events of which there is at least one."""
    num_events: int | None = None
    error: ExpectedError | None = None
    broken: str = ""
    """The stream is broken: what the checker of the grammar says of it."""
    stored: Json | None = None
    cancelled: Json | None = None
    models: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the server has seen in the end."""

    calls: Mapping[str, int | str] = field(default_factory=dict)
    """How often each method was called, by its name; `some`: at least once."""
    attempts: int | None = None
    """How often the client's call came."""
    completions: int | None = None
    """Requests that the engine got."""
    aborted: bool = False
    """The engine was told to drop the completion."""
    authorization: str | None = None
    deadline_s: float | None = None
    """Time that the client gave the call."""
    request_id: str = ""
    """`uuid`, or the id."""
    cancelled: str = ""
    """What the client named to cancel: `completion_id` or `request_id`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One line of the table."""

    name: str
    call: Call
    engine: Sequence[Any] = ({"text": "Hello "}, {"text": "world"}, {"end": "stop"})
    server: ServerSetup = field(default_factory=ServerSetup)
    before: Before | None = None
    twist: Twist = field(default_factory=Twist)
    expect: Expectation
    seen: Seen = field(default_factory=Seen)


def load_cases(folder: Path = TABLE) -> list[Case]:
    """All cases. Raises `TableError`, which says where."""
    cases = [
        case
        for file in sorted(folder.glob("*.yaml"))
        for number, given in enumerate(yaml.safe_load(file.read_text(encoding="utf-8")))
        for case in _cases(given, f"{file.name}, case {number} ({given.get('name')!r})")
    ]
    names = [case.name for case in cases]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise TableError(f"names that are there twice: {sorted(doubled)}")
    return cases


def _cases(given: dict[str, Any], where: str) -> Iterator[Case]:
    """One, or for `ask` two: a unary call and a stream."""
    values = dict(given)
    readers: dict[str, type[Any]] = {"server": ServerSetup, "before": Before, "seen": Seen}
    for name, kind in readers.items():
        if name in values:
            values[name] = _read(kind, values[name], f"{where}: {name}")
    for step in values.get("engine", ()):
        for part in step if isinstance(step, list) else [step]:
            if unknown := part.keys() - STEPS:
                raise TableError(f"{where}: engine: unknown keys {sorted(unknown)}; there are {sorted(STEPS)}")
    values["twist"] = _twist(values.get("twist", {}), f"{where}: twist")
    values["expect"] = _expectation(values.get("expect", {}), f"{where}: expect")
    given_call = dict(values.pop("call", {}))
    methods = [name for name in (*CALLS, "ask") if name in given_call]
    if len(methods) != 1:
        raise TableError(f"{where}: call: one of {', '.join(CALLS)} and ask is needed; there is {methods}")
    (method,) = methods
    request = _with_defaults(method, given_call.pop(method))
    call = _read(Call, {"method": method, "request": request, **given_call}, f"{where}: call")
    case = _read(Case, {**values, "call": call}, where)
    if method != "ask":
        yield case
        return
    for single in ("create", "stream"):
        yield replace(case, name=f"{case.name} ({single})", call=replace(call, method=single))


def _twist(given: Json, where: str) -> Twist:
    values = dict(given)
    parts: dict[str, type[Any]] = {"raises": Raise, "status": Status, "cut": Cut}
    for name, kind in parts.items():
        if name in values:
            values[name] = _read(kind, values[name], f"{where}: {name}")
    values["edits"] = edits = [_read(Edit, edit, f"{where}: edits") for edit in values.get("edits", ())]
    for edit in edits:
        named = [kind for kind in (edit.drop, edit.change, edit.before, edit.after) if kind]
        if len(named) != 1 or named[0] not in EDITED:
            raise TableError(f"{where}: edits: one of {sorted(EDITED)} is to be edited, not {named}")
    return _read(Twist, values, where)


def _expectation(given: Json, where: str) -> Expectation:
    values = dict(given)
    if "error" in values:
        values["error"] = _read(ExpectedError, values["error"], f"{where}: error")
    return _read(Expectation, values, where)


def _read(kind: type[Part], given: Any, where: str) -> Part:
    """A dataclass of what was given. Raises `TableError` for a key that it does not have or that is missing."""
    if not isinstance(given, Mapping):
        raise TableError(f"{where}: must be a mapping, not {given!r}")
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    if unknown := given.keys() - known:
        raise TableError(f"{where}: unknown keys {sorted(unknown)}; there are {sorted(known)}")
    try:
        return kind(**given)
    except TypeError as error:
        raise TableError(f"{where}: {error}") from error


def filler(num_bytes: int) -> str:
    """A text of so many bytes."""
    return "ü" * (num_bytes // 2)


def replaced(given: Any, known: Mapping[str, str]) -> Any:
    """The JSON with other words in place of those that stand for something."""
    if isinstance(given, Mapping):
        return {key: replaced(value, known) for key, value in given.items()}
    if isinstance(given, list):
        return [replaced(value, known) for value in given]
    return known.get(given, given) if isinstance(given, str) else given


def _with_defaults(method: str, request: Json) -> Json:
    """A chat request asks `tiny` to answer "hi", unless it says otherwise."""
    if method not in ("create", "stream", "ask"):
        return request
    return {"model": "tiny", "messages": [{"role": "ROLE_USER", "content": "hi"}], **request}
