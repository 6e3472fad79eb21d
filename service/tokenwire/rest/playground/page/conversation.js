// The conversation: its turns, and the messages that they are in a request.

/** A turn is `{role, content}` (of a tool with `callId`), or `{role: "assistant", choices, chosen, answer}`. */
export class Conversation {
  constructor() {
    this.turns = [];
  }

  say(role, content, more = {}) {
    this.turns.push({ role, content, ...more });
  }

  beginAnswer(answer) {
    const turn = { role: "assistant", choices: answer.choices, chosen: 0, answer };
    this.turns.push(turn);
    return turn;
  }

  /** Without the turn; results of calls go with the calls. */
  remove(turn) {
    const from = this.turns.indexOf(turn);
    let count = 1;
    if (turn.role === "assistant") while (this.turns[from + count]?.role === "tool") count += 1;
    this.turns.splice(from, count);
  }

  /** Ends before the turn. */
  cutBefore(turn) {
    this.turns.length = this.turns.indexOf(turn);
  }

  cutAfter(turn) {
    this.turns.length = this.turns.indexOf(turn) + 1;
  }

  get last() {
    return this.turns.at(-1);
  }

  /** Whether the model is next. */
  get isAsked() {
    return this.turns.length > 0 && this.last.role !== "assistant";
  }

  messages(system, turns = this.turns) {
    const first = system ? [{ role: "system", content: system }] : [];
    return [...first, ...turns.map(messageOf)];
  }
}

/** The choice that the conversation goes on with. */
export const chosenOf = (turn) => turn.choices[turn.chosen];

function messageOf(turn) {
  if (turn.role === "tool") return { role: "tool", tool_call_id: turn.callId, content: turn.content };
  if (turn.role !== "assistant") return { role: turn.role, content: turn.content };
  const { content, reasoning, calls } = chosenOf(turn);
  return {
    role: "assistant",
    content: calls.length && !content ? null : content,
    ...(reasoning && { reasoning_content: reasoning }),
    ...(calls.length && { tool_calls: calls.map(callOf) }),
  };
}

const callOf = (call) => ({
  id: call.id,
  type: "function",
  function: { name: call.name, arguments: call.arguments },
});
