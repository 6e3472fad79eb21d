"""The flags that the client commands share: where the server is, and the main parameters of a request."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from tokenwire_client import DEFAULT_TARGET, ChatParameters, Client

# What the contract's fields can hold; what values are good is the server's to say.
_Int32 = Annotated[int | None, Parameter(validator=Number(gte=-(1 << 31), lt=1 << 31))]
_Int64 = Annotated[int | None, Parameter(validator=Number(gte=-(1 << 63), lt=1 << 63))]


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

    def connect(self) -> Client:
        """A client for this server. Nothing is sent yet."""
        return Client(self.target, api_key=self.api_key, timeout_s=self.timeout_s)


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

    @property
    def parameters(self) -> ChatParameters:
        """As the client takes them."""
        return {
            "model": self.model,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "max_completion_tokens": self.max_completion_tokens,
            "stop": self.stop or None,
            "seed": self.seed,
        }
