"""The conformance driver of the Python client: `python_driver.py sync` or `python_driver.py asyncio`."""

import asyncio
import sys
import threading
from collections.abc import Generator
from contextlib import aclosing, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc

from clients.conformance.messages import LENGTH, Command, Result
from tokenwire_client import AsyncClient, BrokenStreamError, Client, StreamUpdate, TokenwireClientError, tls


def main() -> None:
    """Run commands until stdin ends."""
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    with asyncio.Runner() as runner:
        while head := stdin.read(LENGTH.size):
            command = Command.FromString(stdin.read(LENGTH.unpack(head)[0]))
            result = run_sync(command) if sys.argv[1] == "sync" else runner.run(run_asyncio(command))
            data = result.SerializeToString()
            stdout.write(LENGTH.pack(len(data)) + data)
            stdout.flush()


def run_sync(command: Any) -> Any:
    """The result of a command, with `Client`."""
    result = Result()
    with Client(**connection(command)) as client:
        if command.HasField("cancel_after"):
            timer = threading.Timer(command.cancel_after.ToTimedelta().total_seconds(), client.close)
            timer.daemon = True
            timer.start()
        try:
            call_sync(client, command, result)
        except TokenwireClientError as error:
            tell(error, result)
        except (ValueError, RuntimeError) as error:
            if not command.HasField("cancel_after"):
                raise
            result.error.code, result.error.message = grpc.StatusCode.CANCELLED.value[0], str(error)
    return result


def call_sync(client: Client, command: Any, result: Any) -> None:
    match command.WhichOneof("call"):
        case "create":
            result.completion.CopyFrom(client.chat(command.create, timeout_s=timeout_s(command)))
        case "stream":
            read_sync(
                client.stream(command.stream, resume=command.auto_resume, timeout_s=timeout_s(command)), command, result
            )
        case "resume":
            read_sync(client.resume(resume=command.auto_resume, **resumption(command)), command, result)
        case "get":
            result.stored.CopyFrom(client.completion(command.get.completion_id, timeout_s=timeout_s(command)))
        case "cancel":
            result.cancelled.CopyFrom(client.cancel(**target(command), timeout_s=timeout_s(command)))
        case "list_models":
            result.models.extend(client.models(timeout_s=timeout_s(command)))


def read_sync(updates: Generator[StreamUpdate, None, None], command: Any, result: Any) -> None:
    with closing(updates):
        for update in updates:
            if take(update, command, result):
                break


async def run_asyncio(command: Any) -> Any:
    """The result of a command, with `AsyncClient`."""
    result = Result()
    async with AsyncClient(**connection(command)) as client:
        task = asyncio.create_task(call_asyncio(client, command, result))
        if command.HasField("cancel_after"):
            asyncio.get_running_loop().call_later(command.cancel_after.ToTimedelta().total_seconds(), task.cancel)
        try:
            await task
        except TokenwireClientError as error:
            tell(error, result)
        except asyncio.CancelledError:
            result.error.code, result.error.message = grpc.StatusCode.CANCELLED.value[0], "the task was cancelled"
    return result


async def call_asyncio(client: AsyncClient, command: Any, result: Any) -> None:
    match command.WhichOneof("call"):
        case "create":
            result.completion.CopyFrom(await client.chat(command.create, timeout_s=timeout_s(command)))
        case "stream":
            updates = client.stream(command.stream, resume=command.auto_resume, timeout_s=timeout_s(command))
            await read_asyncio(updates, command, result)
        case "resume":
            await read_asyncio(client.resume(resume=command.auto_resume, **resumption(command)), command, result)
        case "get":
            result.stored.CopyFrom(await client.completion(command.get.completion_id, timeout_s=timeout_s(command)))
        case "cancel":
            result.cancelled.CopyFrom(await client.cancel(**target(command), timeout_s=timeout_s(command)))
        case "list_models":
            result.models.extend(await client.models(timeout_s=timeout_s(command)))


async def read_asyncio(updates: Any, command: Any, result: Any) -> None:
    async with aclosing(updates):
        async for update in updates:
            if take(update, command, result):
                break


def connection(command: Any) -> dict[str, Any]:
    """The arguments of a client."""
    given = command.connection
    arguments = {"target": given.target, "api_key": given.api_key or None}
    if not given.ca_pem:
        return arguments
    with TemporaryDirectory() as folder:
        paths = {}
        for name, pem in (("ca", given.ca_pem), ("cert", given.cert_pem), ("key", given.key_pem)):
            if pem:
                paths[name] = Path(folder, name)
                paths[name].write_bytes(pem)
        return {**arguments, "credentials": tls(**paths)}


def timeout_s(command: Any) -> float | None:
    return command.timeout.ToTimedelta().total_seconds() if command.HasField("timeout") else None


def resumption(command: Any) -> dict[str, Any]:
    request = command.resume
    after = request.after_sequence if request.HasField("after_sequence") else None
    return {"completion_id": request.completion_id, "after_sequence": after, "timeout_s": timeout_s(command)}


def target(command: Any) -> dict[str, Any]:
    kind = command.cancel.WhichOneof("target")
    return {kind: getattr(command.cancel, kind)}


def take(update: StreamUpdate, command: Any, result: Any) -> bool:
    """Note an update; whether the reader leaves now."""
    result.events.append(update.event)
    result.text += update.text
    result.completion.CopyFrom(update.completion)
    return bool(command.leave_after_events) and len(result.events) == int(command.leave_after_events)


def tell(error: TokenwireClientError, result: Any) -> None:
    told = result.error
    told.code, told.reason, told.message = error.code.value[0], error.reason, str(error)
    told.is_broken_stream = isinstance(error, BrokenStreamError)
    for violation in error.violations:
        told.violations.add(field=violation.field, description=violation.description)
    if error.retry_after_s is not None:
        told.retry_after.FromMilliseconds(round(error.retry_after_s * 1000))
    told.metadata.update(error.metadata)


if __name__ == "__main__":
    main()
