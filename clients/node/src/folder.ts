// The folding of a stream into the answer that the unary call gives.

import {
  ChatCompletion,
  type ChatCompletionEvent,
  Choice,
  type Delta,
  FunctionCall,
  type Started,
  ToolCall,
  Usage,
} from "./gen/tokenwire/v1/chat.js";

/** Folds a stream; does not check its grammar. Of the rest of a stream it makes what the rest has of the answer. */
export class StreamFolder {
  /** The answer so far. It grows with each event. */
  readonly completion = ChatCompletion.create();

  /** Takes the next event. */
  add(event: ChatCompletionEvent): void {
    if (event.started) {
      this.#start(event.started);
    } else if (event.promptLogprobs) {
      append(this.completion.promptLogprobs, event.promptLogprobs.tokens);
    } else if (event.delta) {
      this.#append(event.delta);
    } else if (event.finished) {
      const choice = this.#choice(event.finished.index);
      choice.finishReason = event.finished.finishReason;
      choice.stopMatch = event.finished.stopMatch;
    } else if (event.completed) {
      this.completion.usage = event.completed.usage;
      this.completion.timings = event.completed.timings;
    }
  }

  #start(started: Started): void {
    const { id, created, model, systemFingerprint, parameters, serviceTier, promptTokens } = started;
    Object.assign(this.completion, { id, created, model, systemFingerprint, parameters, serviceTier });
    this.completion.usage = Usage.create({ promptTokens });
    if (parameters && parameters.n > 0) {
      this.#choice(parameters.n - 1);
    }
  }

  #append(delta: Delta): void {
    const choice = this.#choice(delta.index);
    choice.content += delta.content; // V8 joins the pieces when somebody reads them, so this is linear
    choice.reasoning += delta.reasoning;
    append(choice.logprobs, delta.logprobs);
    for (const part of delta.toolCalls) {
      const call = at(choice.toolCalls, part.index, () => ToolCall.create());
      call.id ||= part.id;
      call.function = FunctionCall.create({
        name: call.function?.name || part.name,
        arguments: (call.function?.arguments ?? "") + part.arguments,
      });
    }
  }

  #choice(index: number): Choice {
    return at(this.completion.choices, index, (index) => Choice.create({ index }));
  }
}

/** The element, which is made like those before it where there is none yet. */
function at<Element>(list: Element[], index: number, make: (index: number) => Element): Element {
  while (list.length <= index) {
    list.push(make(list.length));
  }
  return list[index] as Element;
}

function append<Element>(list: Element[], more: readonly Element[]): void {
  for (const element of more) {
    list.push(element);
  }
}
