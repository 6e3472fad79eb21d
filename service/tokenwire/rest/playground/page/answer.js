// Joins the chunks of a stream to an answer, and measures it.

export class Answer {
  /** `now` gives milliseconds; the request is sent now. */
  constructor(now = () => performance.now()) {
    this.choices = [emptyChoice()];
    this.usage = null;
    this.parameters = null;
    this.promptTokens = [];
    this.requestId = null;
    this.now = now;
    this.sentMs = now();
    this.firstMs = null;
    this.lastMs = null;
  }

  add(chunk) {
    if (chunk.tokenwire) this.parameters = chunk.tokenwire.parameters;
    if (chunk.usage) this.usage = chunk.usage;
    if (chunk.prompt_logprobs) this.promptTokens.push(...chunk.prompt_logprobs);
    for (const part of chunk.choices) this.addPart(part);
  }

  addPart({ index, delta, logprobs, finish_reason: finishReason }) {
    const choice = (this.choices[index] ??= emptyChoice());
    const text = delta.content || delta.reasoning_content || delta.tool_calls;
    if (text || logprobs) this.lastMs = this.now();
    this.firstMs ??= this.lastMs;
    choice.content += delta.content ?? "";
    choice.reasoning += delta.reasoning_content ?? "";
    for (const part of delta.tool_calls ?? []) {
      const call = (choice.calls[part.index] ??= { id: "", name: "", arguments: "" });
      call.id += part.id ?? "";
      call.name += part.function.name ?? "";
      call.arguments += part.function.arguments ?? "";
    }
    choice.tokens.push(...(logprobs?.content ?? []));
    choice.finishReason = finishReason ?? choice.finishReason;
  }

  /** What is said below it: pairs of a name and a text. */
  figures() {
    const usage = this.usage;
    const pairs = [];
    if (this.firstMs !== null) pairs.push(["first token", `${Math.round(this.firstMs - this.sentMs)} ms`]);
    if (usage) {
      const rate = this.tokensPerSecond();
      if (rate !== null) pairs.push(["speed", `${rate.toFixed(1)} tokens/s`]);
      const cached = usage.prompt_tokens_details.cached_tokens;
      const reasoning = usage.completion_tokens_details.reasoning_tokens;
      pairs.push(["prompt", `${usage.prompt_tokens}${cached ? ` (${cached} cached)` : ""}`]);
      pairs.push(["generated", `${usage.completion_tokens}${reasoning ? ` (${reasoning} reasoning)` : ""}`]);
    }
    if (this.parameters) pairs.push(["seed", String(this.parameters.seed)]);
    if (this.requestId) pairs.push(["request", this.requestId]);
    return pairs;
  }

  /** Of all choices, from the first token to the last; null where there are too few to tell. */
  tokensPerSecond() {
    const following = this.usage.completion_tokens - this.choices.length;
    const seconds = (this.lastMs - this.firstMs) / 1000;
    return following > 0 && seconds > 0 ? following / seconds : null;
  }
}

export function emptyChoice() {
  return { content: "", reasoning: "", calls: [], tokens: [], finishReason: null };
}
