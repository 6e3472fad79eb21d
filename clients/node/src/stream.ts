// The reading of a stream, without any I/O: each event is checked, folded and given on with the answer so far.

import { StreamFolder } from "./folder.js";
import type { ChatCompletion, ChatCompletionEvent, Heartbeat } from "./gen/tokenwire/v1/chat.js";
import { StreamChecker } from "./grammar.js";

/** One event of a stream, with the answer so far. */
export class StreamUpdate {
  /** What is new. */
  readonly event: ChatCompletionEvent;

  /** The answer so far; after the last update, the whole answer. It is live: it grows with the stream. */
  readonly completion: ChatCompletion;

  constructor(event: ChatCompletionEvent, completion: ChatCompletion) {
    this.event = event;
    this.completion = completion;
  }

  /**
   * The new text; empty for an event that has none. Where `n` > 1, `event.delta.index` says whose it is.
   * Parts of tool calls are in `event.delta.toolCalls`, the calls so far in `completion`.
   */
  get text(): string {
    return this.event.delta?.content ?? "";
  }

  /** The new reasoning, which comes before any text; empty for an event that has none. */
  get reasoning(): string {
    return this.event.delta?.reasoning ?? "";
  }

  /** While nothing new comes: where the completion is, and its place in the queue. */
  get heartbeat(): Heartbeat | undefined {
    return this.event.heartbeat;
  }
}

/** Takes the events of one completion. Throws `BrokenStreamError` where one may not stand. */
export class StreamReader {
  readonly #checker: StreamChecker;
  readonly #folder = new StreamFolder();

  /** `afterSequence`: the events after this one come, and the answer is what they have of it. */
  constructor(afterSequence?: bigint) {
    this.#checker = new StreamChecker(afterSequence);
  }

  /** The next event. */
  take(event: ChatCompletionEvent): StreamUpdate {
    this.#checker.check(event);
    this.#folder.add(event);
    return new StreamUpdate(event, this.#folder.completion);
  }

  /** The call ended with status OK. */
  end(): void {
    this.#checker.end();
  }
}
