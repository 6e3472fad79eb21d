// Shows the tool calls of an answer, and asks for their results.

import { button, element } from "./dom.js";

export class CallForm {
  /** With `canAnswer` results can be written; `actions.answerCalls` gets them, one a call. */
  constructor(calls, canAnswer, actions) {
    this.results = calls.map((call) =>
      element("textarea", { rows: 2, spellcheck: "false", "aria-label": `Result of ${call.name}`, placeholder: "Result" }),
    );
    const rows = calls.map((call, index) => callBox(call, canAnswer ? this.results[index] : null));
    const send = () =>
      actions.answerCalls(calls.map((call, index) => ({ callId: call.id, content: this.results[index].value })));
    const label = calls.length > 1 ? "Send results" : "Send result";
    const foot = canAnswer ? [element("div", { class: "bar" }, button(label, send, { class: "primary" }))] : [];
    this.root = element("div", {}, ...rows, ...foot);
    this.root.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.target.tagName !== "TEXTAREA") return;
      event.preventDefault();
      send();
    });
  }
}

function callBox(call, result) {
  const title = element("h4", {}, call.name, element("small", {}, call.id));
  return element("section", { class: "call" }, title, element("pre", {}, pretty(call.arguments)), result ?? "");
}

/** JSON that is still coming stays as it is. */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
