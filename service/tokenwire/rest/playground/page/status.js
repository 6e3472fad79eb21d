// What the header says: the models, and whether the server takes requests.

import { byId, element } from "./dom.js";
import { ApiError } from "./service.js";

const EVERY_MS = 15_000;
const WORDS = { ok: "ready" };

export class Status {
  /** `onNeedsKey(message)` is called when the server wants a key. */
  constructor(service, { model, onNeedsKey }) {
    this.service = service;
    this.wanted = model;
    this.onNeedsKey = onNeedsKey;
    this.models = [];
    this.isRefused = false;
    document.addEventListener("visibilitychange", () => this.ask());
    setInterval(() => this.ask(), EVERY_MS);
  }

  /** Nobody looks at a page that is hidden. */
  async ask() {
    if (document.hidden) return;
    const health = await this.service.health();
    byId("health").dataset.state = health;
    byId("health").textContent = WORDS[health] ?? health;
    if (health === "ok" && !this.models.length && !this.isRefused) await this.list();
  }

  async list() {
    try {
      this.models = await this.service.models();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.isRefused = error.status === 401; // until there is another key
      if (this.isRefused) this.onNeedsKey(error.message);
      return;
    }
    const select = byId("model");
    select.replaceChildren(...this.models.map(({ id }) => element("option", {}, id)));
    if (this.models.some(({ id }) => id === this.wanted)) select.value = this.wanted;
    select.title = this.models.map(describe).join("\n");
  }
}

function describe({ id, tokenwire }) {
  const { architecture, dtype, context_length: context, vocabulary_size: vocabulary } = tokenwire;
  return `${id}: ${architecture}, ${dtype}, context ${context}, vocabulary ${vocabulary}`;
}
