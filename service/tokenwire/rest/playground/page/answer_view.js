// Shows an answer while it comes and after: reasoning, text or heat map, calls, figures.

import { CallForm } from "./calls.js";
import { chosenOf } from "./conversation.js";
import { choiceRow, element } from "./dom.js";
import { HeatMap } from "./heat_map.js";

const ENDS = { length: "cut by length", tool_calls: "tool calls" };

export class AnswerView {
  constructor(turn, actions) {
    this.turn = turn;
    this.actions = actions;
    this.choices = element("div", { class: "tabs", role: "radiogroup", "aria-label": "Choice", hidden: true });
    this.prompt = element("details", { class: "reasoning", hidden: true }, element("summary", {}, "Prompt tokens"));
    this.reasoningText = document.createTextNode("");
    this.reasoning = element(
      "details",
      { class: "reasoning", hidden: true },
      element("summary", {}, "Reasoning"),
      element("div", { class: "text" }, this.reasoningText),
    );
    this.text = document.createTextNode("");
    this.textBox = element("div", { class: "text" }, this.text);
    this.tokens = element("div");
    this.calls = element("div", { class: "calls" });
    this.figures = element("dl", { class: "figures" });
    this.promptMap = null;
    this.root = element(
      "div",
      {},
      ...[this.choices, this.prompt, this.reasoning, this.textBox, this.tokens, this.calls, this.figures],
    );
    this.forget();
  }

  /** What was shown is of another choice, or of another text. */
  forget() {
    this.heatMap = null;
    this.shownCalls = null;
  }

  update(isLive) {
    const choice = chosenOf(this.turn);
    this.updateChoices();
    this.updatePrompt();
    this.reasoning.hidden = !choice.reasoning;
    if (choice.reasoning && this.reasoningText.data === "") this.reasoning.open = true;
    setText(this.reasoningText, choice.reasoning);
    this.updateText(choice, isLive);
    this.updateCalls(choice, isLive);
    this.updateFigures(choice, isLive);
  }

  updateText(choice, isLive) {
    const hasTokens = choice.tokens.length > 0;
    if (hasTokens) {
      this.heatMap ??= new HeatMap("Tokens of the answer");
      this.heatMap.update(choice.tokens);
    }
    this.textBox.hidden = hasTokens || (!choice.content && !isLive);
    this.textBox.classList.toggle("waiting", isLive && !choice.content);
    setText(this.text, choice.content);
    this.tokens.replaceChildren(...(hasTokens ? [this.heatMap.root] : []));
  }

  updateChoices() {
    const { choices, chosen } = this.turn;
    this.choices.hidden = choices.length < 2;
    if (this.choices.childElementCount === choices.length || choices.length < 2) return;
    const labels = choices.map((_, index) => `Choice ${index + 1}`);
    choiceRow(this.choices, labels, chosen, (index) => {
      this.turn.chosen = index;
      this.forget();
      this.actions.changed(this.turn);
    });
  }

  updatePrompt() {
    const tokens = this.turn.answer.promptTokens;
    this.prompt.hidden = tokens.length === 0;
    if (tokens.length === 0) return;
    if (!this.promptMap) {
      this.promptMap = new HeatMap("Tokens of the prompt");
      this.prompt.append(this.promptMap.root);
    }
    this.promptMap.update(tokens);
  }

  updateCalls(choice, isLive) {
    const isWhole = choice.calls.length > 0 && choice.finishReason !== null && choice.finishReason !== "length";
    const canAnswer = !isLive && isWhole && this.actions.isLast(this.turn);
    const shown = JSON.stringify([choice.calls, canAnswer]);
    if (shown === this.shownCalls) return; // results that are being written stay
    this.shownCalls = shown;
    this.calls.replaceChildren(...(choice.calls.length ? [new CallForm(choice.calls, canAnswer, this.actions).root] : []));
  }

  updateFigures(choice, isLive) {
    const { answer } = this.turn;
    const end = isLive ? "…" : (ENDS[choice.finishReason] ?? choice.finishReason ?? "stopped");
    const pairs = [["end", end], ...answer.figures()];
    const items = pairs.map(([name, value]) =>
      element("div", { "data-figure": name }, element("dt", {}, name), element("dd", {}, value)),
    );
    this.figures.replaceChildren(...items);
  }
}

/** Appends what is new, which leaves a selection alone. */
function setText(node, text) {
  if (text === node.data) return;
  if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
  else node.data = text;
}
