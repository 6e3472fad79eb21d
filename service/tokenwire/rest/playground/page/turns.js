// Shows the turns of a conversation, and what can be done with each.

import { AnswerView } from "./answer_view.js";
import { button, element } from "./dom.js";
import { chosenOf } from "./conversation.js";

const NAMES = { user: "You", assistant: "Model", tool: "Result" };

/** The element of a turn. `actions` has `changed()`, `run(turn)`, `remove(turn)`, `retry(turn)` and `isLast(turn)`. */
export class TurnView {
  constructor(turn, actions) {
    this.turn = turn;
    this.actions = actions;
    this.body = element("div", { class: "body" });
    this.tools = element("div", { class: "tools" });
    this.problem = element("p", { class: "problem" });
    const name = element("h3", {}, NAMES[turn.role], turn.callId ? element("small", {}, turn.callId) : null);
    const head = element("div", { class: "head" }, name, this.tools);
    this.root = element("article", { class: `turn ${turn.role}` }, head, this.body, this.problem);
    this.answer = turn.role === "assistant" ? new AnswerView(turn, actions) : null;
    this.show();
  }

  /** As it is; with `isLive` an answer that still comes. */
  show(isLive = false) {
    if (this.answer) this.answer.update(isLive);
    this.body.replaceChildren(this.answer ? this.answer.root : element("div", { class: "text" }, this.turn.content));
    this.tools.replaceChildren(...(isLive ? [] : this.buttons()));
  }

  buttons() {
    const { turn, actions } = this;
    const name = NAMES[turn.role].toLowerCase();
    const retry = turn.role === "assistant" ? button("Regenerate", () => actions.retry(turn)) : null;
    const edit = button("Edit", () => this.edit(), { "aria-label": `Edit ${name}` });
    const remove = button("Delete", () => actions.remove(turn), { "aria-label": `Delete ${name}` });
    return [retry, edit, remove].filter(Boolean);
  }

  edit() {
    const { turn, actions } = this;
    const holder = turn.role === "assistant" ? chosenOf(turn) : turn;
    const text = element("textarea", { rows: 4, "aria-label": "Text of the message" });
    text.value = holder.content;
    const keep = () => {
      holder.content = text.value;
      if (turn.role === "assistant") holder.tokens = []; // they are of another text
      this.answer?.forget();
    };
    const close = () => {
      this.show();
      this.tools.querySelector("[aria-label^=Edit]").focus();
    };
    const save = button("Save", () => (keep(), close(), actions.changed()));
    const run = button("Save and run", () => (keep(), actions.run(turn)), { class: "primary" });
    const cancel = button("Cancel", close);
    text.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      close();
    });
    const isAsking = turn.role !== "assistant";
    this.body.replaceChildren(text, element("div", { class: "bar" }, cancel, save, isAsking ? run : ""));
    this.tools.replaceChildren();
    text.focus();
  }
}
