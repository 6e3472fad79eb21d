// The course of one streamed completion over one call or, where it resumes, over several; without any I/O.

import { status } from "@grpc/grpc-js";

import { isServiceError, TokenwireError } from "./errors.js";
import {
  CancelChatCompletionRequest,
  type ChatCompletionEvent,
  type ChatCompletionRequest,
  ExecutionPolicy,
  OnDisconnect,
  ResumeChatCompletionRequest,
} from "./gen/tokenwire/v1/chat.js";
import { StreamReader, type StreamUpdate } from "./stream.js";

const FIRST_DELAY_MS = 100;
const MAX_DELAY_MS = 5_000;
/** A server that is not reached for so long is given up: by default it keeps no completion for longer. */
const MAX_OUTAGE_MS = 60_000;

const CONNECTION_LOST: readonly status[] = [status.UNAVAILABLE, status.CANCELLED];
/** Reasons of the server that end a stream of a completion that detaches, and not the completion. */
const MAY_GO_ON: readonly string[] = ["SLOW_CONSUMER", "DEADLINE_EXCEEDED"];

/** What asks for a stream. */
export type StreamRequest = { chat: ChatCompletionRequest } | { resume: ResumeChatCompletionRequest };

/** What is asked next, and what is done when a call ends. */
export class Course {
  /** What to ask next. */
  request: StreamRequest;
  /** When all calls together have to be done: `performance.now()` then; may be infinite. */
  readonly #deadlineMs: number;
  readonly #reader: StreamReader;
  readonly #resumes: boolean;
  readonly #target = CancelChatCompletionRequest.create();
  /** The stream is not resumed, and the server need not be told that it is left. */
  #isOver: boolean;
  #canResume = false;
  #lostMs: number | undefined;
  #numLosses = 0;

  /** `timeoutMs` bounds all calls together. A chat request that `resumes` is changed: it detaches. */
  constructor(request: StreamRequest, { timeoutMs, resumes }: { timeoutMs: number; resumes: boolean }) {
    this.request = request;
    this.#deadlineMs = performance.now() + timeoutMs;
    this.#resumes = resumes;
    this.#isOver = !resumes;
    if ("chat" in request) {
      this.#reader = new StreamReader();
      this.#target.requestId = request.chat.requestId;
      if (resumes) {
        request.chat.executionPolicy ??= ExecutionPolicy.create();
        request.chat.executionPolicy.onDisconnect = OnDisconnect.DETACH;
      }
    } else {
      this.#reader = new StreamReader(request.resume.afterSequence);
      this.#target.completionId = request.resume.completionId;
      this.#canResume = resumes;
    }
  }

  /** For the next call, in milliseconds; may be infinite. */
  get timeLeftMs(): number {
    return Math.max(0, this.#deadlineMs - performance.now());
  }

  /** The next event. Throws `BrokenStreamError` where it may not stand. */
  take(event: ChatCompletionEvent): StreamUpdate {
    if (this.#resumes) {
      this.#note(event);
    }
    return this.#reader.take(event);
  }

  /** The call ended with status OK. Throws `BrokenStreamError` where something is missing. */
  end(): void {
    this.#reader.end();
    this.#isOver = true;
  }

  /** The call failed: milliseconds after which to ask again. Throws the error where that is of no use. */
  resumeAfterMs(error: unknown): number {
    if (this.#isOver || !isServiceError(error)) {
      throw error;
    }
    const { reason } = TokenwireError.from(error);
    if (!this.#canResume || (reason && !MAY_GO_ON.includes(reason))) {
      this.#isOver = true;
      throw error;
    }
    const nowMs = performance.now();
    this.#lostMs ??= nowMs;
    if (reason || !CONNECTION_LOST.includes(error.code) || nowMs - this.#lostMs > MAX_OUTAGE_MS) {
      throw error;
    }
    const delayMs = Math.min(FIRST_DELAY_MS * 2 ** this.#numLosses, MAX_DELAY_MS) * (0.5 + Math.random() / 2);
    this.#numLosses += 1;
    return Math.min(delayMs, this.timeLeftMs);
  }

  /** The stream is left: what to tell the server, or undefined where it knows. */
  leave(): CancelChatCompletionRequest | undefined {
    if (this.#isOver) {
      return undefined;
    }
    this.#isOver = true;
    return this.#target;
  }

  #note({ started, sequence }: ChatCompletionEvent): void {
    this.#numLosses = 0;
    this.#lostMs = undefined;
    if (started) {
      this.#canResume = started.resumable;
      this.#target.completionId = started.id;
      this.#target.requestId = undefined;
      this.request = { resume: ResumeChatCompletionRequest.create({ completionId: started.id }) };
    }
    if ("resume" in this.request) {
      this.request.resume.afterSequence = sequence;
    }
  }
}
