// The grammar of a completion stream: started promptLogprobs* (delta | finished)* completed, heartbeats anywhere after
// `started`. Exactly one `finished` a choice, after its deltas; `sequence` strictly increases, but a heartbeat has
// that of the event before it. In a choice, reasoning comes before content, and one tool call after the other.

import { BrokenStreamError } from "./errors.js";
import {
  type ChatCompletionEvent,
  type Delta,
  type Finished,
  FinishReason,
  type Started,
} from "./gen/tokenwire/v1/chat.js";

/** Checks one stream, event by event. An event of a kind that it does not know passes. */
export class StreamChecker {
  #sequence: bigint | undefined;
  readonly #isRest: boolean;
  #openChoices: Map<number, OpenChoice> | undefined;
  readonly #finished = new Set<number>();
  #isAnswering = false;
  #isCompleted = false;

  /** `afterSequence`: the stream is the rest of one, after this event; what came before it is not known. */
  constructor(afterSequence?: bigint) {
    this.#sequence = afterSequence;
    this.#isRest = afterSequence !== undefined;
    this.#openChoices = this.#isRest ? new Map() : undefined;
  }

  /** Takes the next event. Throws `BrokenStreamError` where it may not stand. */
  check(event: ChatCompletionEvent): void {
    if (this.#isCompleted) {
      throw new BrokenStreamError("an event after `completed`");
    }
    if (event.heartbeat) {
      this.#checkHeartbeat(event.sequence);
      return;
    }
    if (this.#sequence !== undefined && event.sequence <= this.#sequence) {
      throw new BrokenStreamError(`sequence ${event.sequence} after ${this.#sequence}`);
    }
    this.#sequence = event.sequence;
    if (event.started) {
      this.#checkStarted(event.started);
    } else if (event.promptLogprobs) {
      this.#checkPromptLogprobs();
    } else if (event.delta) {
      this.#openChoice(event.delta.index, "delta").check(event.delta);
      this.#isAnswering = true;
    } else if (event.finished) {
      this.#checkFinished(event.finished);
    } else if (event.completed) {
      this.#checkCompleted();
    }
  }

  /** The stream ended with status OK. Throws `BrokenStreamError` if it was not complete. */
  end(): void {
    if (!this.#isCompleted) {
      throw new BrokenStreamError("the stream ended OK without `completed`");
    }
  }

  #checkHeartbeat(sequence: bigint): void {
    if (sequence !== this.#sequence) {
      throw new BrokenStreamError(`a heartbeat of sequence ${sequence} after ${this.#sequence ?? "nothing"}`);
    }
  }

  #checkStarted(started: Started): void {
    if (this.#openChoices) {
      throw new BrokenStreamError("a second `started`");
    }
    this.#openChoices = new Map();
    for (let index = 0; index < (started.parameters?.n ?? 0); index++) {
      this.#openChoices.set(index, new OpenChoice(0));
    }
  }

  #checkPromptLogprobs(): void {
    if (!this.#openChoices) {
      throw new BrokenStreamError("`promptLogprobs` before `started`");
    }
    if (this.#isAnswering) {
      throw new BrokenStreamError("`promptLogprobs` after an answer began");
    }
  }

  #openChoice(index: number, kind: string): OpenChoice {
    if (!this.#openChoices) {
      throw new BrokenStreamError(`\`${kind}\` before \`started\``);
    }
    let choice = this.#openChoices.get(index);
    if (!choice && this.#isRest && !this.#finished.has(index)) {
      choice = new OpenChoice();
      this.#openChoices.set(index, choice);
    }
    if (!choice) {
      throw new BrokenStreamError(`\`${kind}\` for choice ${index}, which is finished or was never asked`);
    }
    return choice;
  }

  #checkFinished(finished: Finished): void {
    this.#openChoice(finished.index, "finished");
    this.#openChoices?.delete(finished.index);
    this.#finished.add(finished.index);
    this.#isAnswering = true;
    if (finished.finishReason === FinishReason.UNSPECIFIED) {
      throw new BrokenStreamError(`choice ${finished.index} finished without a reason`);
    }
  }

  #checkCompleted(): void {
    if (!this.#openChoices) {
      throw new BrokenStreamError("`completed` before `started`");
    }
    if (this.#openChoices.size > 0) {
      throw new BrokenStreamError(`\`completed\` while choices ${[...this.#openChoices.keys()].join(", ")} are open`);
    }
    this.#isCompleted = true;
  }
}

/** What the deltas of one choice had so far. */
class OpenChoice {
  #hasContent = false;
  #numCalls: number | undefined;

  /** `numCalls`: absent: not known. */
  constructor(numCalls?: number) {
    this.#numCalls = numCalls;
  }

  check(delta: Delta): void {
    if (delta.reasoning && this.#hasContent) {
      throw new BrokenStreamError(`reasoning after the content of choice ${delta.index}`);
    }
    this.#hasContent ||= delta.content !== "";
    for (const part of delta.toolCalls) {
      this.#numCalls ??= part.id ? part.index : part.index + 1;
      if (part.index !== this.#numCalls - 1 && part.index !== this.#numCalls) {
        throw new BrokenStreamError(`tool call ${part.index} of choice ${delta.index} is out of order`);
      }
      const isFirst = part.index === this.#numCalls;
      if ((part.id !== "") !== isFirst || (part.name !== "") !== isFirst) {
        throw new BrokenStreamError(`id and name of tool call ${part.index} belong in its first part only`);
      }
      this.#numCalls += isFirst ? 1 : 0;
    }
  }
}
