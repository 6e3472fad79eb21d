// Tokens coloured by how unlikely the model found them; the alternatives at the one that is pointed at or focused.

import { byId, element } from "./dom.js";

const MINUS_INFINITY = -9999;
const GAP_PX = 6;

export class HeatMap {
  /** `label` names it to screen readers. */
  constructor(label) {
    this.tokens = [];
    this.decoder = new TextDecoder();
    this.root = element("div", { class: "heat", role: "group", "aria-label": `${label}; arrow keys go from token to token` });
    this.root.addEventListener("mouseover", ({ target }) => this.show(target));
    this.root.addEventListener("focusin", ({ target }) => this.show(target));
    this.root.addEventListener("mouseleave", hide);
    this.root.addEventListener("focusout", hide);
    this.root.addEventListener("keydown", (event) => this.move(event));
  }

  /** Appends the tokens that are not there yet. */
  update(tokens) {
    for (const token of tokens.slice(this.tokens.length)) {
      // Tokens may end within a character: it is shown with the token that completes it.
      const text = this.decoder.decode(new Uint8Array(token.bytes), { stream: true });
      const span = element("span", { tabindex: this.tokens.length ? "-1" : "0", "data-token": this.tokens.length }, text);
      span.style.setProperty("--unlikely", unlikeliness(token).toFixed(3));
      span.setAttribute("aria-label", `${JSON.stringify(token.token)}, ${percent(token)}`);
      span.setAttribute("role", "button");
      this.tokens.push(token);
      this.root.append(span);
    }
  }

  move(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10 }[event.key];
    if (event.key === "Escape" && !byId("alternatives").hidden) {
      hide();
      event.stopPropagation();
    }
    if (!step || !event.target.dataset.token) return;
    event.preventDefault();
    const wanted = Number(event.target.dataset.token) + step;
    const next = this.root.children[Math.min(Math.max(wanted, 0), this.tokens.length - 1)];
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  show(span) {
    const token = this.tokens[span.dataset.token];
    if (token) showAlternatives(token, span);
  }
}

/** From 0 to 1, which is a chance of one in 150 or less. */
const unlikeliness = ({ logprob }) => Math.min(1, -logprob / 5);

const probability = ({ logprob }) => (logprob <= MINUS_INFINITY ? 0 : Math.exp(logprob));

function percent(token) {
  const value = 100 * probability(token);
  return `${value >= 10 ? value.toFixed(1) : value.toPrecision(2)} %`;
}

function hide() {
  byId("alternatives").hidden = true;
}

function showAlternatives(token, span) {
  const box = byId("alternatives");
  const others = token.top_logprobs.filter((other) => other.token !== token.token);
  const rows = [token, ...others].sort((one, two) => two.logprob - one.logprob);
  box.replaceChildren(...rows.map((row) => alternative(row, row === token)));
  box.hidden = false;
  place(box, span.getClientRects()[0] ?? span.getBoundingClientRect());
}

function alternative(token, isChosen) {
  const bar = element("span", { class: "bar" });
  bar.style.setProperty("--part", probability(token).toFixed(4));
  const logprob = token.logprob <= MINUS_INFINITY ? "−∞" : token.logprob.toFixed(3).replace("-", "−");
  return element(
    "div",
    { class: isChosen && "chosen" },
    element("code", {}, JSON.stringify(token.token).slice(1, -1) || "(nothing)"),
    bar,
    element("span", {}, percent(token)),
    element("span", { class: "logprob" }, logprob),
  );
}

/** Below the token, or above where there is no room, and within the window. */
function place(box, at) {
  const { width, height } = box.getBoundingClientRect();
  const below = at.bottom + GAP_PX;
  const top = below + height < innerHeight ? below : Math.max(0, at.top - height - GAP_PX);
  const left = Math.max(GAP_PX, Math.min(at.left, innerWidth - width - GAP_PX));
  box.style.setProperty("top", `${top}px`);
  box.style.setProperty("left", `${left}px`);
}
