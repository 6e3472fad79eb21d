// What the conformance table does not ask: back-pressure, signals, closing, raw stubs, retries that are off.

import assert from "node:assert/strict";
import { once } from "node:events";
import { test, type TestContext } from "node:test";
import { setImmediate as turn } from "node:timers/promises";

import {
  type ChatCompletionRequest,
  ChatCompletionEvent,
  ChatServiceService,
  ListModelsResponse,
  ModelServiceClient,
  ModelServiceService,
  Role,
  status,
  TokenwireClient,
  type TokenwireClientOptions,
  TokenwireError,
} from "@tokenwire/client";
import * as grpc from "@grpc/grpc-js";

type Streaming = grpc.ServerWritableStream<ChatCompletionRequest, ChatCompletionEvent>;

const request = { model: "m", messages: [{ role: Role.USER, content: "hi" }] };
const started = ChatCompletionEvent.fromPartial({
  started: { id: "chatcmpl-1", parameters: { n: 1 }, resumable: true },
});

/** A server with these handlers, and a client of it; both are closed when the test ends. */
async function pair(
  t: TestContext,
  service: grpc.ServiceDefinition,
  handlers: grpc.UntypedServiceImplementation,
  options: TokenwireClientOptions = {},
): Promise<TokenwireClient> {
  const server = new grpc.Server();
  const unimplemented = Object.fromEntries(Object.keys(service).map((name) => [name, () => {}]));
  server.addService(service, { ...unimplemented, ...handlers });
  const port = await new Promise<number>((resolve, reject) => {
    const done = (error: Error | null, port: number) => (error ? reject(error) : resolve(port));
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), done);
  });
  t.after(() => server.forceShutdown());
  const client = new TokenwireClient(`127.0.0.1:${port}`, options);
  t.after(() => client.close());
  return client;
}

test("a slow loop slows the server down", { timeout: 60_000 }, async (t) => {
  const content = "x".repeat(100_000);
  let numSent = 0;
  const streamChatCompletion = async (call: Streaming) => {
    call.write(started);
    while (numSent < 500) {
      numSent += 1;
      if (!call.write(ChatCompletionEvent.fromPartial({ sequence: numSent, delta: { content } }))) {
        await once(call, "drain");
      }
    }
    call.write(ChatCompletionEvent.fromPartial({ sequence: numSent + 1, finished: { finishReason: 1 } }));
    call.write(ChatCompletionEvent.fromPartial({ sequence: numSent + 2, completed: {} }));
    call.end();
  };
  const client = await pair(t, ChatServiceService, { streamChatCompletion });

  let numRead = 0;
  let mostAhead = 0;
  for await (const update of client.stream(request)) {
    for (let turns = 0; turns < 20; turns++) {
      await turn();
    }
    numRead += update.text ? 1 : 0;
    mostAhead = Math.max(mostAhead, numSent - numRead);
  }
  assert.equal(numRead, 500);
  assert.ok(mostAhead < 100, `${mostAhead} events ahead`);
});

test("leaving the loop cancels the call", { timeout: 10_000 }, async (t) => {
  const calls: Streaming[] = [];
  const streamChatCompletion = (call: Streaming) => {
    calls.push(call);
    call.write(started);
  };
  const client = await pair(t, ChatServiceService, { streamChatCompletion });

  for await (const update of client.stream(request)) {
    assert.equal(update.completion.id, "chatcmpl-1");
    break;
  }
  const [call] = calls;
  assert.ok(call);
  if (!call.cancelled) {
    await once(call, "cancelled");
  }
});

test("a signal that aborts ends a call that waits, and is the cause of its error", { timeout: 10_000 }, async (t) => {
  const controller = new AbortController();
  const createChatCompletion = () => controller.abort("enough");
  const client = await pair(t, ChatServiceService, { createChatCompletion });

  const call = client.chat(request, { signal: controller.signal });
  await assert.rejects(call, { name: "TokenwireError", code: status.CANCELLED, cause: "enough" });
});

test("a signal that has aborted already keeps a call from being made", { timeout: 10_000 }, async (t) => {
  let numCalls = 0;
  const count = () => (numCalls += 1);
  const handlers = { createChatCompletion: count, streamChatCompletion: count, cancelChatCompletion: count };
  const client = await pair(t, ChatServiceService, handlers);

  const signal = AbortSignal.abort();
  await assert.rejects(client.chat(request, { signal }), { code: status.CANCELLED });
  await assert.rejects(client.stream(request, { signal, resume: true }).next(), { code: status.CANCELLED });
  assert.equal(numCalls, 0);
});

test(
  "closing the client ends its calls and cancels the completion of a stream that resumes",
  { timeout: 10_000 },
  async (t) => {
    const cancelled: unknown[] = [];
    const client = await pair(t, ChatServiceService, {
      streamChatCompletion: (call: Streaming) => void call.write(started),
      cancelChatCompletion: (call: grpc.ServerUnaryCall<unknown, unknown>, done: grpc.sendUnaryData<object>) => {
        cancelled.push(call.request);
        done(null, {});
      },
    });

    const stream = client.stream(request, { resume: true });
    await stream.next();
    const next = stream.next();
    const failed = assert.rejects(next, { code: status.CANCELLED });
    await client.close();
    await failed;
    assert.deepEqual(cancelled, [{ completionId: "chatcmpl-1", requestId: undefined }]);
    await assert.rejects(client.chat(request), { code: status.CANCELLED });
  },
);

test("a stream that a signal ends is over when the server knows", { timeout: 10_000 }, async (t) => {
  let isTold = false;
  const client = await pair(t, ChatServiceService, {
    streamChatCompletion: (call: Streaming) => void call.write(started),
    cancelChatCompletion: async (_: unknown, done: grpc.sendUnaryData<object>) => {
      await turn();
      isTold = true;
      done(null, {});
    },
  });
  const controller = new AbortController();

  const stream = client.stream(request, { resume: true, signal: controller.signal });
  await stream.next();
  controller.abort();
  await assert.rejects(stream.next(), { code: status.CANCELLED });
  assert.ok(isTold);
});

test("a stub has the key, and its errors can be read", { timeout: 10_000 }, async (t) => {
  const keys: unknown[] = [];
  const listModels = (call: grpc.ServerUnaryCall<unknown, ListModelsResponse>, done: grpc.sendUnaryData<object>) => {
    keys.push(...call.metadata.get("authorization"));
    done({ code: status.NOT_FOUND, details: "no such model" });
  };
  const client = await pair(t, ModelServiceService, { listModels }, { apiKey: "tw-key" });

  const stub = client.stub(ModelServiceClient);
  const error = await new Promise((resolve) => stub.listModels({}, resolve));
  const { code, reason, message } = TokenwireError.from(error);
  assert.deepEqual({ code, reason, message }, { code: status.NOT_FOUND, reason: "", message: "no such model" });
  assert.deepEqual(keys, ["Bearer tw-key"]);
});

test("a call is made once where retries are off", { timeout: 10_000 }, async (t) => {
  let numCalls = 0;
  const createChatCompletion = (_: unknown, done: grpc.sendUnaryData<object>) => {
    numCalls += 1;
    done({ code: status.UNAVAILABLE });
  };
  const client = await pair(t, ChatServiceService, { createChatCompletion }, { retries: false });

  await assert.rejects(client.chat(request), { code: status.UNAVAILABLE });
  assert.equal(numCalls, 1);
});

for (const loadBalancing of ["round_robin", "weighted_round_robin"] as const) {
  test(`${loadBalancing} calls every address`, { timeout: 10_000 }, async (t) => {
    const servers = ["a", "b"].map(async (id) => {
      const server = new grpc.Server();
      const listModels = (_: unknown, done: grpc.sendUnaryData<object>) =>
        done(null, ListModelsResponse.fromPartial({ models: [{ id }] }));
      server.addService(ModelServiceService, { listModels, getModel: () => {} });
      t.after(() => server.forceShutdown());
      return new Promise<number>((resolve) => {
        server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (_, port) => resolve(port));
      });
    });
    const addresses = (await Promise.all(servers)).map((port) => `127.0.0.1:${port}`);
    const client = new TokenwireClient(`ipv4:${addresses.join(",")}`, { loadBalancing });
    t.after(() => client.close());

    const seen = new Set<string | undefined>();
    while (seen.size < 2) {
      seen.add((await client.models())[0]?.id);
    }
  });
}
