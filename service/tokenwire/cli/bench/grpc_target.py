"""A Tokenwire server under load, over gRPC."""

from collections.abc import Callable

import grpc

from tokenwire.cli.bench.targets import Address, RequestFailedError, Usage
from tokenwire.cli.problems import explain
from tokenwire_client import AsyncClient, TokenwireClientError, Transport


class GrpcTarget:
    """Speaks the contract, through the client library."""

    def __init__(
        self,
        address: Address,
        *,
        model: str | None,
        api_key: str | None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout_s: float,
    ) -> None:
        self.name = address.name
        self._location = address.location
        self._model = model
        # A refused request is a result here, not something to try again.
        transport = Transport(retries=False)
        self._client = AsyncClient(
            address.location, api_key=api_key, credentials=credentials, timeout_s=timeout_s, transport=transport
        )

    async def describe(self) -> str:
        """The model, its number type and device, and the fingerprint."""
        try:
            model = await self._client.model(self._model)
        except TokenwireClientError as error:
            raise RequestFailedError(explain(error, target=self._location)) from None
        self._model = model.id
        return f"{model.id}, {model.dtype} on {model.device} ({model.system_fingerprint})"

    async def answer(self, prompt: str, *, max_tokens: int, on_text: Callable[[], None]) -> Usage:
        """One streamed answer."""
        try:
            async for update in self._client.stream(
                prompt, model=self._model, temperature=0.0, max_completion_tokens=max_tokens, ignore_eos=True
            ):
                if update.text:
                    on_text()
        except TokenwireClientError as error:
            raise RequestFailedError(str(error)) from None
        # A stream without its last event, which has the usage, has raised.
        usage = update.completion.usage
        return Usage(usage.prompt_tokens, usage.completion_tokens)

    async def cut(self, text: str, num_tokens: int) -> str:
        """The first tokens of the text, by this server's tokenizer. Raises `RequestFailedError`."""
        try:
            tokens = await self._client.tokenize(text, model=self._model)
            kept = list(tokens.token_ids[:num_tokens])
            return (await self._client.detokenize(kept, model=self._model)).text
        except TokenwireClientError as error:
            raise RequestFailedError(explain(error, target=self._location)) from None

    async def close(self) -> None:
        """Close the channel."""
        await self._client.close()
