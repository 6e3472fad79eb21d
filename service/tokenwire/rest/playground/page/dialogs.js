// The dialogs: the API key, and the same call as commands.

import { byId, choiceRow } from "./dom.js";
import { apiKey, keepApiKey } from "./settings.js";
import { SNIPPETS } from "./snippets.js";

export class KeyDialog {
  /** `onKey` is called when there is another key. */
  constructor(onKey) {
    this.dialog = byId("key-dialog");
    byId("hide-key").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("close", () => {
      if (this.dialog.returnValue !== "keep") return;
      keepApiKey(byId("key").value.trim());
      onKey();
    });
  }

  /** `problem` says why it is asked for. */
  open(problem = "") {
    if (this.dialog.open) return;
    this.dialog.returnValue = "";
    byId("key").value = apiKey();
    byId("key-problem").textContent = problem;
    this.dialog.showModal();
    byId("key").focus();
  }
}

export class CodeDialog {
  /** `compose` gives the request, or throws; `onTarget` is told another gRPC address. */
  constructor({ compose, target, onTarget }) {
    this.compose = compose;
    this.dialog = byId("code-dialog");
    this.languages = Object.keys(SNIPPETS);
    this.taken = 0;
    byId("target").value = target;
    byId("target").addEventListener("input", () => (onTarget(byId("target").value), this.show()));
    byId("hide-code").addEventListener("click", () => this.dialog.close());
    byId("copy").addEventListener("click", () => this.copy());
  }

  /** Throws what `compose` throws. */
  open() {
    this.body = this.compose();
    choiceRow(byId("languages"), this.languages, this.taken, (index) => {
      this.taken = index;
      this.show();
    });
    this.show();
    this.dialog.showModal();
  }

  show() {
    const language = this.languages[this.taken];
    const server = new URL(".", document.baseURI).href;
    const target = byId("target").value;
    byId("target-field").hidden = language !== "grpcurl";
    byId("code").textContent = SNIPPETS[language](this.body, { server, target, hasKey: apiKey() !== "" });
    byId("copied").textContent = apiKey() ? "The key is read from TOKENWIRE_API_KEY." : "";
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(byId("code").textContent);
      byId("copied").textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(byId("code")); // a page without TLS may not write to the clipboard
      byId("copied").textContent = "Selected: copy it with your keyboard.";
    }
  }
}
