// The client: the calls of the contract as promises and async iterators, over one channel.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import * as grpc from "@grpc/grpc-js";

import { channelOptions, type ConnectionOptions, credentials, interceptors } from "./connection.js";
import { Course, type StreamRequest } from "./course.js";
import { TokenwireError } from "./errors.js";
import {
  CancelChatCompletionRequest,
  type CancelChatCompletionResponse,
  type ChatCompletion,
  type ChatCompletionEvent,
  ChatCompletionRequest,
  ChatServiceService,
  GetChatCompletionRequest,
  ResumeChatCompletionRequest,
  type StoredChatCompletion,
} from "./gen/tokenwire/v1/chat.js";
import { ListModelsRequest, type Model, ModelServiceService } from "./gen/tokenwire/v1/models.js";
import { Scope } from "./scope.js";
import type { StreamUpdate } from "./stream.js";

/** Options of a client. */
export interface TokenwireClientOptions extends ConnectionOptions {
  /** Time limit of calls that give none, in milliseconds; default 600,000. `Infinity`: no limit. */
  timeoutMs?: number | undefined;
  /** Whether streams that do not say resume: see `StreamOptions.resume`; default false. */
  resume?: boolean | undefined;
}

/** Options of a call. */
export interface CallOptions {
  /** Cancels the call when it aborts: the call then throws a `TokenwireError` with CANCELLED. */
  signal?: AbortSignal | undefined;
  /** Time limit in milliseconds; default: the client's. It is the gRPC deadline, which the server reads. */
  timeoutMs?: number | undefined;
}

/** Options of a stream. */
export interface StreamOptions extends CallOptions {
  /**
   * Whether the completion outlives a lost connection: the stream then goes on where it was, until the completion is
   * found to be gone, the server is not reached for a minute, or `timeoutMs` is over, which bounds all of it. Leaving
   * the stream early sends a CancelChatCompletion. Default: the client's.
   */
  resume?: boolean | undefined;
}

/** A chat request; what is left out has its default. */
export type ChatCompletionRequestInit = Parameters<typeof ChatCompletionRequest.fromPartial>[0];

/** Which completion to cancel. */
export type CancelTarget = { completionId: string } | { requestId: string };

/** A unary method, out of the generated definition of its service, such as `TokenServiceService.countTokens`. */
export type UnaryMethod<Request, Response> = grpc.MethodDefinition<Request, Response> & {
  readonly requestStream: false;
  readonly responseStream: false;
};

/** The generated client class of a service, such as `TokenServiceClient`. */
export type Stub<Client extends grpc.Client> = new (
  address: string,
  credentials: grpc.ChannelCredentials,
  options?: Partial<grpc.ClientOptions>,
) => Client;

const DEFAULT_TARGET = "127.0.0.1:50051";
const DEFAULT_TIMEOUT_MS = 600_000;
/** Longest that somebody who leaves a stream waits for the server to be told. */
const CANCEL_TIMEOUT_MS = 2_000;

/**
 * Calls a Tokenwire server. Close it, or declare it with `await using`. Calls throw `TokenwireError`.
 *
 * It connects with its first call, and again when the connection is lost.
 */
export class TokenwireClient implements AsyncDisposable {
  readonly #target: string;
  readonly #options: TokenwireClientOptions;
  readonly #interceptors: grpc.Interceptor[];
  readonly #grpc: grpc.Client;
  readonly #live = new Set<Scope>();
  #isClosed = false;

  /** `target`: host and port, or any other name that gRPC resolves. */
  constructor(target: string = DEFAULT_TARGET, options: TokenwireClientOptions = {}) {
    this.#target = target;
    this.#options = { ...options };
    this.#interceptors = interceptors(options);
    this.#grpc = new grpc.Client(target, credentials(options), {
      ...channelOptions(options),
      interceptors: this.#interceptors,
    });
  }

  /** The whole answer. */
  async chat(request: ChatCompletionRequestInit, options: CallOptions = {}): Promise<ChatCompletion> {
    return this.call(ChatServiceService.createChatCompletion, identified(request), options);
  }

  /**
   * The answer as it comes. The call begins when the first update is asked for. Leaving the loop cancels it, which
   * frees its place on the server. A slow loop slows the stream down: little is read ahead.
   */
  stream(
    request: ChatCompletionRequestInit,
    options: StreamOptions = {},
  ): AsyncGenerator<StreamUpdate, void, undefined> {
    return this.#follow({ chat: identified(request) }, options);
  }

  /**
   * The events of a live or retained completion after `afterSequence`, or from its start. In the first case
   * `StreamUpdate.completion` is what these events have of the answer.
   */
  resume(
    completionId: string,
    { afterSequence, ...options }: StreamOptions & { afterSequence?: bigint | undefined } = {},
  ): AsyncGenerator<StreamUpdate, void, undefined> {
    return this.#follow({ resume: ResumeChatCompletionRequest.create({ completionId, afterSequence }) }, options);
  }

  /** A completion that was generated with `store`, or is live or retained, as far as it has come: see `state`. */
  async completion(completionId: string, options: CallOptions = {}): Promise<StoredChatCompletion> {
    return this.call(ChatServiceService.getChatCompletion, GetChatCompletionRequest.create({ completionId }), options);
  }

  /** Ends a completion. Harmless if it has ended. */
  async cancel(target: CancelTarget, options: CallOptions = {}): Promise<CancelChatCompletionResponse> {
    return this.call(ChatServiceService.cancelChatCompletion, CancelChatCompletionRequest.create(target), options);
  }

  /** The served models; none while the model is loading. */
  async models(options: CallOptions = {}): Promise<Model[]> {
    return (await this.call(ModelServiceService.listModels, ListModelsRequest.create(), options)).models;
  }

  /** Calls any unary method of the contract. */
  async call<Request, Response>(
    method: UnaryMethod<Request, Response>,
    request: Request,
    options: CallOptions = {},
  ): Promise<Response> {
    const scope = this.#begin(options.signal);
    try {
      return await this.#unary(method, request, this.#timeoutMs(options), scope.signal);
    } catch (error) {
      throw translated(error, scope.signal);
    } finally {
      await this.#end(scope);
    }
  }

  /** The generated client of a service, over this client's channel and with its key. It is closed with this client. */
  stub<Client extends grpc.Client>(service: Stub<Client>): Client {
    return new service(this.#target, credentials(this.#options), {
      channelOverride: this.#grpc.getChannel(),
      interceptors: this.#interceptors,
    });
  }

  /** Cancels what is live and closes the connection. Resolves when the server knows of every stream that resumes. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#live].map((scope) => scope.end("the client was closed")));
    this.#grpc.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async *#follow(request: StreamRequest, options: StreamOptions): AsyncGenerator<StreamUpdate, void, undefined> {
    const resumes = options.resume ?? this.#options.resume ?? false;
    const course = new Course(request, { timeoutMs: this.#timeoutMs(options), resumes });
    const scope = this.#begin(options.signal, () => this.#leave(course));
    try {
      for (;;) {
        try {
          for await (const event of this.#events(course, scope.signal)) {
            yield course.take(event);
          }
          course.end();
          return;
        } catch (error) {
          scope.signal.throwIfAborted();
          await sleep(course.resumeAfterMs(error), undefined, { signal: scope.signal });
        }
      }
    } catch (error) {
      throw translated(error, scope.signal);
    } finally {
      await this.#end(scope);
    }
  }

  async *#events(course: Course, signal: AbortSignal): AsyncGenerator<ChatCompletionEvent, void, undefined> {
    const call = this.#openStream(course);
    call.on("error", () => {}); // what comes after the reader has left is nobody's
    const cancel = () => call.cancel();
    signal.addEventListener("abort", cancel, { once: true });
    try {
      for await (const event of call) {
        signal.throwIfAborted();
        yield event as ChatCompletionEvent;
      }
    } finally {
      signal.removeEventListener("abort", cancel);
      cancel();
    }
  }

  #openStream({ request, timeLeftMs }: Course): grpc.ClientReadableStream<ChatCompletionEvent> {
    const { streamChatCompletion, resumeChatCompletion } = ChatServiceService;
    const [method, message] =
      "chat" in request ? [streamChatCompletion, request.chat] : [resumeChatCompletion, request.resume];
    const { path, requestSerialize, responseDeserialize } = method as grpc.MethodDefinition<
      unknown,
      ChatCompletionEvent
    >;
    return this.#grpc.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      message,
      deadline(timeLeftMs),
    );
  }

  #unary<Request, Response>(
    { path, requestSerialize, responseDeserialize }: UnaryMethod<Request, Response>,
    request: Request,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      const done = (error: grpc.ServiceError | null, response?: Response) =>
        error ? reject(error) : resolve(response as Response);
      const options = deadline(timeoutMs);
      const call = this.#grpc.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, options, done);
      signal?.addEventListener("abort", () => call.cancel(), { once: true });
    });
  }

  #begin(signal: AbortSignal | undefined, leave: () => Promise<void> = async () => {}): Scope {
    if (this.#isClosed) {
      throw new TokenwireError("the client is closed", grpc.status.CANCELLED);
    }
    if (signal?.aborted) {
      throw cancelled(signal);
    }
    const scope = new Scope(signal, leave);
    this.#live.add(scope);
    return scope;
  }

  async #end(scope: Scope): Promise<void> {
    await scope.leave();
    this.#live.delete(scope);
  }

  async #leave(course: Course): Promise<void> {
    const target = course.leave();
    if (target) {
      // Whatever comes of it, nobody is there to be told.
      await this.#unary(ChatServiceService.cancelChatCompletion, target, CANCEL_TIMEOUT_MS).catch(() => {});
    }
  }

  #timeoutMs(options: CallOptions): number {
    return options.timeoutMs ?? this.#options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  }
}

/** The whole request, with an id, which makes it safe to send it again. */
function identified(request: ChatCompletionRequestInit): ChatCompletionRequest {
  const whole = ChatCompletionRequest.fromPartial(request);
  whole.requestId ||= randomUUID();
  return whole;
}

function deadline(timeoutMs: number): grpc.CallOptions {
  return timeoutMs === Infinity ? {} : { deadline: Date.now() + timeoutMs };
}

/** The client's own error. */
function translated(error: unknown, signal: AbortSignal): TokenwireError {
  return signal.aborted ? cancelled(signal) : TokenwireError.from(error);
}

function cancelled({ reason }: AbortSignal): TokenwireError {
  return new TokenwireError("the call was cancelled", grpc.status.CANCELLED, { cause: reason });
}
