// The conformance driver: runs the commands that come on stdin with the client, and writes their results to stdout.

import {
  type CancelChatCompletionRequest,
  Duration,
  type StreamOptions,
  type StreamUpdate,
  TokenwireClient,
  type TokenwireClientOptions,
  TokenwireError,
} from "@tokenwire/client";

import { Command, type Connection, type Error as CallError, Result } from "./gen/tokenwire/conformance/driver.js";

for await (const frame of frames(process.stdin)) {
  const bytes = Result.encode(await run(Command.decode(frame))).finish();
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  process.stdout.write(Buffer.concat([length, bytes]));
}

async function run(command: Command): Promise<Result> {
  const result = Result.create();
  const timer = new AbortController();
  const timeout = command.cancelAfter && setTimeout(() => timer.abort(), milliseconds(command.cancelAfter));
  const options = {
    signal: timer.signal,
    timeoutMs: command.timeout && milliseconds(command.timeout),
    resume: command.autoResume,
  };
  try {
    const { target, ...how } = connection(command.connection);
    await using client = new TokenwireClient(target, how);
    await call(client, command, options, result);
  } catch (error) {
    result.error = describe(TokenwireError.from(error));
  } finally {
    clearTimeout(timeout);
  }
  return result;
}

async function call(client: TokenwireClient, command: Command, options: StreamOptions, result: Result): Promise<void> {
  if (command.create) {
    result.completion = await client.chat(command.create, options);
  } else if (command.stream) {
    await read(client.stream(command.stream, options), command.leaveAfterEvents, result);
  } else if (command.resume) {
    const { completionId, afterSequence } = command.resume;
    await read(client.resume(completionId, { ...options, afterSequence }), command.leaveAfterEvents, result);
  } else if (command.get) {
    result.stored = await client.completion(command.get.completionId, options);
  } else if (command.cancel) {
    result.cancelled = await client.cancel(target(command.cancel), options);
  } else if (command.listModels) {
    result.models = await client.models(options);
  }
}

async function read(
  stream: AsyncIterable<StreamUpdate>,
  leaveAfter: number | undefined,
  result: Result,
): Promise<void> {
  for await (const update of stream) {
    result.events.push(update.event);
    result.text += update.text;
    result.completion = update.completion;
    if (result.events.length === leaveAfter) {
      break;
    }
  }
}

function target({ completionId, requestId }: CancelChatCompletionRequest) {
  return requestId === undefined ? { completionId: completionId ?? "" } : { requestId };
}

function connection(given: Connection | undefined): { target: string } & TokenwireClientOptions {
  const { target = "", apiKey = "", caPem, certPem, keyPem } = given ?? {};
  return {
    target,
    apiKey: apiKey || undefined,
    tls: caPem?.length ? { ca: caPem, ...(certPem?.length && { cert: certPem, key: keyPem }) } : undefined,
  };
}

function describe({ name, code, reason, message, violations, retryAfterMs, metadata }: TokenwireError): CallError {
  return {
    isBrokenStream: name === "BrokenStreamError",
    code,
    reason,
    message,
    violations: violations.map((violation) => ({ ...violation })),
    retryAfter: retryAfterMs === undefined ? undefined : duration(retryAfterMs),
    metadata: { ...metadata },
  };
}

function milliseconds({ seconds, nanos }: Duration): number {
  return Number(seconds) * 1000 + nanos / 1e6;
}

function duration(ms: number): Duration {
  return Duration.create({ seconds: Math.floor(ms / 1000), nanos: Math.round((ms % 1000) * 1e6) });
}

/** The bytes of each frame: 4 bytes of length, big-endian, then so many bytes. */
async function* frames(input: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  let bytes = Buffer.alloc(0);
  for await (const chunk of input) {
    bytes = Buffer.concat([bytes, chunk]);
    while (bytes.length >= 4 && bytes.length >= 4 + bytes.readUInt32BE()) {
      const end = 4 + bytes.readUInt32BE();
      yield bytes.subarray(4, end);
      bytes = bytes.subarray(end);
    }
  }
}
