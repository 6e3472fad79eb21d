// Runs the conversation: asks for an answer, shows it as it comes, stops it.

import { Answer } from "./answer.js";
import { Conversation } from "./conversation.js";
import { byId } from "./dom.js";
import { FieldError } from "./parameters.js";
import { ApiError } from "./service.js";
import { TurnView } from "./turns.js";

export class Session {
  /**
   * `compose(messages)` makes a request of the messages without the system prompt, or throws `FieldError`;
   * `onProblem(error)` shows what went wrong, null takes that away; `onRunning(isRunning)` is told when that changes;
   * `onResults()` when calls have been answered.
   */
  constructor(service, { compose, onProblem, onRunning, onResults }) {
    this.service = service;
    this.compose = compose;
    this.onProblem = onProblem;
    this.onRunning = onRunning;
    this.onResults = onResults;
    this.conversation = new Conversation();
    this.views = new Map();
    this.place = byId("conversation");
    this.abort = null;
    this.empty = this.place.firstElementChild;
  }

  get isRunning() {
    return this.abort !== null;
  }

  say(text) {
    this.conversation.say("user", text);
    return this.run();
  }

  stop() {
    this.abort?.abort();
  }

  clear() {
    this.stop();
    this.conversation.turns = [];
    this.onProblem(null);
    this.show();
  }

  /** Asks for an answer to the conversation as it is. */
  async run() {
    if (this.isRunning) return;
    this.onProblem(null);
    this.show();
    let body;
    try {
      body = this.compose(this.conversation.turns);
    } catch (error) {
      this.fail(error);
      return;
    }
    this.abort = new AbortController();
    this.onRunning(true);
    try {
      await this.stream(body, this.abort.signal);
    } catch (error) {
      this.fail(error);
    } finally {
      this.abort = null;
      this.onRunning(false);
      this.show();
    }
  }

  async stream(body, signal) {
    const answer = new Answer();
    announce("Asking");
    const { requestId, chunks } = await this.service.chat(body, signal);
    answer.requestId = requestId;
    const turn = this.conversation.beginAnswer(answer);
    this.show();
    const painter = new Painter(() => this.paint(turn));
    try {
      for await (const chunk of chunks) {
        answer.add(chunk);
        painter.ask();
      }
    } finally {
      painter.stop();
    }
    announce(`Model: ${turn.choices[0].content || turn.choices[0].calls.map((call) => `calls ${call.name}`).join(", ")}`);
  }

  fail(error) {
    if (error.name === "AbortError") announce("Stopped");
    else if (error instanceof ApiError || error instanceof FieldError) this.onProblem(error);
    else throw error;
  }

  /** Every turn, each in its view. */
  show() {
    const { turns } = this.conversation;
    const views = new Map(turns.map((turn) => [turn, this.views.get(turn) ?? new TurnView(turn, this.actions())]));
    this.views = views;
    for (const [turn, view] of views) view.show(this.isRunning && turn === this.conversation.last && turn.role === "assistant");
    this.place.replaceChildren(...(turns.length ? [...views.values()].map((view) => view.root) : [this.empty]));
    this.follow();
  }

  paint(turn) {
    const atEnd = this.isAtEnd();
    this.views.get(turn)?.show(true);
    if (atEnd) this.follow();
  }

  isAtEnd() {
    return this.place.scrollHeight - this.place.scrollTop - this.place.clientHeight < 40;
  }

  follow() {
    this.place.scrollTop = this.place.scrollHeight;
  }

  /** Puts a problem beside the message that `messages[i]` names; false where there is none. */
  mark(index, message) {
    const view = this.views.get(this.conversation.turns[index]);
    if (!view) return false;
    view.problem.textContent = message;
    view.root.scrollIntoView({ block: "nearest" });
    return true;
  }

  unmark() {
    for (const view of this.views.values()) view.problem.textContent = "";
  }

  actions() {
    const idle = (act) => (turn) => {
      if (this.isRunning) return;
      this.onProblem(null);
      act(turn);
    };
    const { conversation } = this;
    return {
      isLast: (turn) => conversation.last === turn,
      changed: () => this.show(),
      remove: idle((turn) => (conversation.remove(turn), this.show())),
      retry: idle((turn) => (conversation.cutBefore(turn), this.run())),
      run: idle((turn) => (conversation.cutAfter(turn), this.run())),
      answerCalls: idle((results) => {
        for (const { callId, content } of results) conversation.say("tool", content, { callId });
        this.onResults();
        this.run();
      }),
    };
  }
}

/** Paints at most once a frame. */
class Painter {
  constructor(paint) {
    this.paint = paint;
    this.frame = null;
  }

  ask() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.paint();
    });
  }

  stop() {
    if (this.frame !== null) cancelAnimationFrame(this.frame);
  }
}

/** Told to screen readers: whole answers, for pieces of one cannot be followed. */
function announce(text) {
  byId("announcement").textContent = text;
}
