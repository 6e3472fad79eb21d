"""The flags of the client commands: where the server is, the main parameters of a request, the form of the answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import grpc
from cyclopts import Group, Parameter, Token
from cyclopts.types import ExistingFile
from cyclopts.validators import LimitedChoice, Number, all_or_none

from tokenwire.v1.chat_pb2 import ResponseFormat
from tokenwire_client import (
    DEFAULT_TARGET,
    ChatParameters,
    Client,
    ExecutionPolicyDict,
    choice,
    json_schema,
    regex,
    tls,
)

# What the contract's fields can hold; what values are good is the server's to say.
_Int32 = Annotated[int | None, Parameter(validator=Number(gte=-(1 << 31), lt=1 << 31))]
_Int64 = Annotated[int | None, Parameter(validator=Number(gte=-(1 << 63), lt=1 << 63))]
_Seconds = Annotated[float | None, Parameter(validator=Number(gt=0, lt=1e9))]

_TLS = Group("TLS")
_CERTIFICATE = Group("TLS, for a server that asks who calls", validator=all_or_none)


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Which server is asked."""

    target: Annotated[str, Parameter(env_var="TOKENWIRE_TARGET")] = DEFAULT_TARGET
    """Address of the server's gRPC port."""

    api_key: Annotated[str | None, Parameter(env_var="TOKENWIRE_API_KEY")] = None
    """Key to send with every call."""

    timeout_s: float = 600.0
    """Seconds that an answer may take."""

    tls: Annotated[bool, Parameter(group=_TLS, negative="")] = False
    """Encrypt the connection, and trust the usual authorities."""

    tls_ca: Annotated[ExistingFile | None, Parameter(group=_TLS, env_var="TOKENWIRE_TLS_CA")] = None
    """Encrypt the connection, and trust the authorities in this PEM file."""

    tls_cert: Annotated[ExistingFile | None, Parameter(group=_CERTIFICATE)] = None
    """PEM file with a certificate of your own."""

    tls_key: Annotated[ExistingFile | None, Parameter(group=_CERTIFICATE)] = None
    """PEM file with its private key."""

    @property
    def credentials(self) -> grpc.ChannelCredentials | None:
        """As the client takes them; None: plain text."""
        if not (self.tls or self.tls_ca or self.tls_cert):
            return None
        return tls(ca=self.tls_ca, cert=self.tls_cert, key=self.tls_key)

    def connect(self, *, resume: bool = False) -> Client:
        """A client for this server. Nothing is sent yet."""
        return Client(
            self.target,
            credentials=self.credentials,
            api_key=self.api_key,
            timeout_s=self.timeout_s,
            resume=resume,
        )


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOptions:
    """How the answer is generated. What is not given is the server's default."""

    model: str | None = None
    """Name of the model; default: the only one that is served."""

    temperature: float | None = None
    """Sampling temperature in [0, 2]; 0 is greedy."""

    top_p: float | None = None
    """Nucleus probability in [0, 1]."""

    top_k: _Int32 = None
    """Sample only from the k most likely tokens; 0 is off."""

    max_completion_tokens: _Int32 = None
    """Most tokens to generate."""

    stop: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = ()
    """Text that ends the answer; up to four times."""

    seed: _Int64 = None
    """The same seed and request give the same answer."""

    time_budget_s: _Seconds = None
    """Seconds after which the answer ends with what it has."""

    max_queue_time_s: _Seconds = None
    """Seconds that the request may wait for its turn."""

    resume: Annotated[bool, Parameter(negative="")] = False
    """Go on with an answer whose connection was lost."""

    @property
    def parameters(self) -> ChatParameters:
        """As the client takes them."""
        policy: ExecutionPolicyDict = {}
        if self.time_budget_s is not None:
            policy["time_budget_s"] = self.time_budget_s
        if self.max_queue_time_s is not None:
            policy["max_queue_time_s"] = self.max_queue_time_s
        return {
            "execution_policy": policy or None,
            "model": self.model,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "max_completion_tokens": self.max_completion_tokens,
            "stop": self.stop or None,
            "seed": self.seed,
        }


def _read_schema(kind: type, tokens: Sequence[Token]) -> str:
    """The schema itself, or what is in the file."""
    given = tokens[0].value
    if given.lstrip().startswith("{"):
        return given
    try:
        return Path(given).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no JSON object, and as a file it cannot be read: {error}") from None


_FORM = Group("Form of the answer", validator=LimitedChoice())


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class FormOptions:
    """What the answer must look like; one of them, or any text."""

    json_schema: Annotated[str | None, Parameter(group=_FORM, converter=_read_schema)] = None
    """JSON schema that the answer matches: a file, or the schema itself."""

    regex: Annotated[str | None, Parameter(group=_FORM)] = None
    """Regular expression that the answer matches as a whole."""

    choice: Annotated[tuple[str, ...], Parameter(group=_FORM, negative="", show_default=False)] = ()
    """One of the texts that the answer may be; once for each."""

    @property
    def response_format(self) -> ResponseFormat | None:
        """As the client takes it."""
        if self.json_schema is not None:
            return json_schema(self.json_schema)
        if self.regex is not None:
            return regex(self.regex)
        return choice(*self.choice) if self.choice else None
