"""The chat service: what every transport calls."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from enum import Enum
from functools import partial

from tokenwire.chat.caller import ANYONE, Caller
from tokenwire.chat.completion import Acceptance, Completion
from tokenwire.chat.description import describe_model
from tokenwire.chat.model import ServedModel
from tokenwire.chat.parameters import effective_parameters, priority, sampling_params, service_tier
from tokenwire.chat.preparation import LONG_REQUEST_BYTES, Prepared, prepare
from tokenwire.chat.store import CompletionStore
from tokenwire.chat.validation.limits import MAX_N
from tokenwire.chat.validation.request import MISSING_MODEL, check_token_id, validate
from tokenwire.chat.validation.rules import missing
from tokenwire.engine.protocol import Engine, GenerationRequest
from tokenwire.errors import (
    CompletionNotFoundError,
    ConstraintFailedError,
    DrainingError,
    EngineFaultError,
    InvalidRequestError,
    ModelLoadingError,
    ModelNotFoundError,
    QueueFullError,
)
from tokenwire.stream import StreamFolder
from tokenwire.v1.chat_pb2 import (
    CancelChatCompletionRequest,
    CancelChatCompletionResponse,
    ChatCompletion,
    ChatCompletionEvent,
    ChatCompletionRequest,
    GetChatCompletionRequest,
    ResumeChatCompletionRequest,
    StoredChatCompletion,
)
from tokenwire.v1.models_pb2 import GetModelRequest, ListModelsRequest, ListModelsResponse, Model
from tokenwire.v1.tokens_pb2 import (
    CountTokensResponse,
    DetokenizeRequest,
    DetokenizeResponse,
    RenderPromptResponse,
    TokenizeRequest,
    TokenizeResponse,
)

RETRY_AFTER_S = 1.0
"""A place in the queue is free again, or another server found, in about this time."""

RETRY_LOADING_AFTER_S = 2.0


class ServiceState(Enum):
    """Where the service is in its life."""

    LOADING = "loading"
    SERVING = "serving"
    DRAINING = "draining"


class ChatService:
    """Chat completions, models and tokens over one engine. Every error is a `TokenwireError`."""

    def __init__(
        self,
        engine: Engine,
        *,
        max_queue: int,
        max_request_bytes: int,
        max_stored: int = 1000,
        stored_for_s: float = 3600.0,
    ) -> None:
        """`max_queue` bounds the choices that run or wait at once; `max_request_bytes` is told in `Model.limits`;
        `max_stored` completions are kept for at most `stored_for_s` seconds."""
        self._engine = engine
        self._store = CompletionStore(max_count=max_stored, max_age_s=stored_for_s)
        self._max_queue = max_queue
        self._max_request_bytes = max_request_bytes
        self._max_n = min(MAX_N, max_queue)
        self._model: ServedModel | None = None
        self._draining = False
        self._num_completions = 0
        self._num_choices = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def open(self, model: ServedModel) -> None:
        """Loading → serving."""
        self._model = model

    def drain(self) -> None:
        """Refuse new completions with `DrainingError`; live ones go on."""
        self._draining = True

    @property
    def state(self) -> ServiceState:
        """Where the service is in its life."""
        if self._draining:
            return ServiceState.DRAINING
        return ServiceState.LOADING if self._model is None else ServiceState.SERVING

    @property
    def active(self) -> int:
        """Number of live completions."""
        return self._num_completions

    async def wait_idle(self) -> None:
        """Return when no completion is live."""
        await self._idle.wait()

    async def stream(
        self, request: ChatCompletionRequest, *, caller: Caller = ANYONE
    ) -> AsyncGenerator[ChatCompletionEvent, None]:
        """Generate a completion. Errors raise at the first step; closing the generator frees everything."""
        if self._draining:
            raise DrainingError("the server is shutting down", retry_after_s=RETRY_AFTER_S)
        model = await self._valid(request)
        acceptance = Acceptance.now()
        with self._place(request.n if request.HasField("n") else 1):
            prepared = await prepare(request, model=model, engine=self._engine)
            events = self._generate(*_start(acceptance, request, prepared, model=model))
            stored = StreamFolder() if request.store else None
            async with aclosing(events):
                async for event in events:
                    if stored is not None:
                        stored.add(event)
                        # Before the caller has the last event: it may ask at once, and never come back for more.
                        if event.WhichOneof("event") == "completed":
                            self._store.add(stored.completion, metadata=request.metadata, user=request.user)
                    yield event

    async def _generate(
        self, completion: Completion, request: GenerationRequest
    ) -> AsyncGenerator[ChatCompletionEvent, None]:
        """Let the engine work and give the events. Whatever happens, the engine drops the request at the end."""
        generation = self._engine.generate(request)
        outcome = "cancelled"
        try:
            yield completion.started()
            while not completion.done:
                for event in completion.events(await generation.receive(), abort=generation.abort):
                    yield event
            outcome = ",".join(completion.finish_reasons)
            yield completion.completed()
        except ConstraintFailedError:
            outcome = "constraint failed"
            raise
        except EngineFaultError as error:
            outcome = "engine fault"
            raise EngineFaultError(str(error), completion_id=completion.id) from error
        finally:  # also where the caller went away, at an await (CancelledError) or at a yield (GeneratorExit)
            generation.abort()
            completion.log(outcome)

    async def create(self, request: ChatCompletionRequest, *, caller: Caller = ANYONE) -> ChatCompletion:
        """Generate a completion and return it whole: the fold of `stream()`."""
        folder = StreamFolder()
        async with aclosing(self.stream(request, caller=caller)) as events:
            async for event in events:
                folder.add(event)
        return folder.completion

    async def resume(
        self, request: ResumeChatCompletionRequest, *, caller: Caller = ANYONE
    ) -> AsyncGenerator[ChatCompletionEvent, None]:
        """Go on with a stream."""
        raise CompletionNotFoundError(request.completion_id)
        yield

    def cancel(self, request: CancelChatCompletionRequest, *, caller: Caller = ANYONE) -> CancelChatCompletionResponse:
        """End a live completion."""
        raise CompletionNotFoundError(request.completion_id)

    def get_chat_completion(
        self, request: GetChatCompletionRequest, *, caller: Caller = ANYONE
    ) -> StoredChatCompletion:
        """Read a stored completion again."""
        if not request.completion_id:
            raise InvalidRequestError([missing("completion_id")])
        return self._store.get(request.completion_id)

    def list_models(self, request: ListModelsRequest) -> ListModelsResponse:
        """The served models; none while loading."""
        return ListModelsResponse(models=[] if self._model is None else [self._describe(self._model)])

    def get_model(self, request: GetModelRequest) -> Model:
        """Describe one model."""
        return self._describe(self._named(request.model))

    async def count_tokens(self, request: ChatCompletionRequest) -> CountTokensResponse:
        """Count the prompt tokens of a chat request."""
        model = await self._valid(request)
        prepared = await prepare(request, model=model, engine=self._engine)
        prompt_tokens = len(prepared.prompt.token_ids)
        return CountTokensResponse(
            prompt_tokens=prompt_tokens,
            context_length=model.info.context_length,
            available_completion_tokens=max(0, model.info.context_length - prompt_tokens),
        )

    async def render_prompt(self, request: ChatCompletionRequest) -> RenderPromptResponse:
        """Show the prompt of a chat request, and the grammar of the answer."""
        prepared = await prepare(request, model=await self._valid(request), engine=self._engine)
        return RenderPromptResponse(
            prompt=prepared.prompt.text, token_ids=prepared.prompt.token_ids, grammar=prepared.grammar or ""
        )

    def tokenize(self, request: TokenizeRequest) -> TokenizeResponse:
        """Turn text into tokens."""
        tokenizer = self._named(request.model).tokenizer
        ids = tokenizer.encode_text(request.text, add_special_tokens=request.add_special_tokens)
        return TokenizeResponse(token_ids=ids, token_bytes=map(tokenizer.token_bytes, ids))

    def detokenize(self, request: DetokenizeRequest) -> DetokenizeResponse:
        """Turn tokens into text."""
        model = self._named(request.model)
        size = model.info.vocabulary_size
        violations = [
            violation
            for index, token_id in enumerate(request.token_ids)
            for violation in check_token_id(f"token_ids[{index}]", token_id, size)
        ]
        if violations:
            raise InvalidRequestError(violations)
        text = model.tokenizer.decode(request.token_ids, skip_special_tokens=request.skip_special_tokens)
        return DetokenizeResponse(text=text)

    def _named(self, name: str) -> ServedModel:
        """The model that a request names."""
        if self._model is None:
            raise ModelLoadingError("the model is still loading", retry_after_s=RETRY_LOADING_AFTER_S)
        if not name:
            raise InvalidRequestError([MISSING_MODEL])
        if name != self._model.id:
            raise ModelNotFoundError(name)
        return self._model

    async def _valid(self, request: ChatCompletionRequest) -> ServedModel:
        """The model that a request names, once the request is found valid."""
        if self._model is None or request.model:
            self._named(request.model)
        assert self._model is not None
        check = partial(validate, request, vocabulary_size=self._model.info.vocabulary_size, max_n=self._max_n)
        if request.ByteSize() < LONG_REQUEST_BYTES:
            check()
        else:
            await asyncio.to_thread(check)
        return self._model

    def _describe(self, model: ServedModel) -> Model:
        return describe_model(
            model, max_n=self._max_n, max_queue=self._max_queue, max_request_bytes=self._max_request_bytes
        )

    @contextmanager
    def _place(self, n: int) -> Iterator[None]:
        """A place in the queue for a completion of `n` choices. Raises `QueueFullError`."""
        if self._num_choices + n > self._max_queue:
            raise QueueFullError(
                f"at most {self._max_queue} choices may run or wait at once; "
                f"{self._num_choices} do and this request has {n}",
                retry_after_s=RETRY_AFTER_S,
            )
        self._num_completions += 1
        self._num_choices += n
        self._idle.clear()
        try:
            yield
        finally:
            self._num_completions -= 1
            self._num_choices -= n
            if not self._num_completions:
                self._idle.set()


def _start(
    acceptance: Acceptance, request: ChatCompletionRequest, prepared: Prepared, *, model: ServedModel
) -> tuple[Completion, GenerationRequest]:
    """The two sides of a completion: what the caller gets, and what the engine is asked."""
    prompt = prepared.prompt
    parameters = effective_parameters(
        request, prompt_tokens=len(prompt.token_ids), context_length=model.info.context_length
    )
    completion = Completion(
        acceptance,
        request,
        parameters=parameters,
        model=model,
        prompt_token_ids=prompt.token_ids,
        form=prepared.form,
        service_tier=service_tier(request),
    )
    generation = GenerationRequest(
        acceptance.id,
        prompt.token_ids,
        sampling_params(request, parameters, grammar=prepared.grammar),
        parameters.n,
        priority=priority(request),
        prompt_logprobs=request.prompt_logprobs if request.HasField("prompt_logprobs") else None,
    )
    return completion, generation
