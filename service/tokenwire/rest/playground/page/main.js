// The page: puts its parts together, and listens to the keyboard.

import { Controls } from "./controls.js";
import { Conversation } from "./conversation.js";
import { CodeDialog, KeyDialog } from "./dialogs.js";
import { button, byId, element } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import { FieldError, parametersOf } from "./parameters.js";
import { Service } from "./service.js";
import { Session } from "./session.js";
import { apiKey, keepSettings, linkTo, loadSettings } from "./settings.js";
import { Status } from "./status.js";

const GRPC_PORT = document.documentElement.dataset.grpcPort;
const THEMES = { auto: "as the system", light: "light", dark: "dark" };

const settings = { target: `${location.hostname}:${GRPC_PORT}`, theme: "auto", texts: {}, model: "", ...loadSettings() };
const prompt = byId("prompt");

const controls = new Controls(byId("controls"), () => {
  settings.texts = controls.texts();
  keepSettings(settings);
});
controls.fill(settings.texts);

const service = new Service(apiKey);
const keyDialog = new KeyDialog(() => status.list());
const status = new Status(service, { model: settings.model, onNeedsKey: (message) => keyDialog.open(message) });

byId("conversation").append(welcome());
const session = new Session(service, {
  compose,
  onProblem: showProblem,
  onRunning: showRunning,
  onResults: () => controls.set("tool_choice", ""), // a call that was asked for has been made: another one need not be
});
const codeDialog = new CodeDialog({
  compose: () => compose(turnsToShow()),
  target: settings.target,
  onTarget: (target) => keepSettings(Object.assign(settings, { target })),
});

/** The request that asks for the turn after `turns`. */
function compose(turns) {
  const { system, parameters } = parametersOf(controls.texts());
  const messages = new Conversation().messages(system, turns);
  return { model: byId("model").value, messages, ...parameters, stream: true, stream_options: { include_usage: true } };
}

/** With what is being written; without the last answer, so that the call is the one that gave it. */
function turnsToShow() {
  const { turns, last } = session.conversation;
  const text = prompt.value.trim();
  if (text) return [...turns, { role: "user", content: text }];
  return last?.role === "assistant" ? turns.slice(0, -1) : turns;
}

/** In the box above the prompt, and beside the control or message that it is about. */
function showProblem(error) {
  controls.unmarkAll();
  session.unmark();
  const box = byId("failure");
  box.hidden = error === null;
  if (error === null) return;
  const facts = [error.status && `HTTP ${error.status}`, error.code, error.param, error.requestId].filter(Boolean);
  const again = session.conversation.isAsked ? button("Try again", () => session.run()) : "";
  const foot = element("div", { class: "bar" }, element("span", { class: "facts" }, facts.join(" · ")), again);
  box.replaceChildren(element("p", {}, error.message), foot);
  for (const each of violationsOf(error)) markWhere(each);
  if (error.status === 401) keyDialog.open(error.message);
}

/** A message lists all that is wrong, each part with its path in front; `param` is the path of the first. */
function violationsOf({ param, message }) {
  const parts = message.split(/; (?=`)/).map((part) => ({ param: /^`([^`]+)`/.exec(part)?.[1], message: part }));
  return parts.every((part) => part.param) ? parts : [{ param, message }];
}

function markWhere({ param, message }) {
  if (!param) return;
  const hasSystem = controls.texts().system.trim() !== "";
  const place = /^messages\[(\d+)\]/.exec(param);
  if (!place) controls.mark(param, message);
  else if (hasSystem && place[1] === "0") controls.mark("system", message);
  else session.mark(Number(place[1]) - (hasSystem ? 1 : 0), message);
}

function showRunning(isRunning) {
  const isHeld = [byId("send"), byId("stop")].includes(document.activeElement); // the one that goes away
  byId("stop").hidden = !isRunning;
  byId("send").hidden = isRunning;
  byId("conversation").setAttribute("aria-busy", String(isRunning));
  if (isHeld) (isRunning ? byId("stop") : prompt).focus();
}

function send() {
  const text = prompt.value.trim();
  if (session.isRunning) return;
  if (!text && !session.conversation.isAsked) return;
  prompt.value = "";
  if (text) session.say(text);
  else session.run(); // after an edit, or after a refusal
}

function welcome() {
  const examples = EXAMPLES.map((example) =>
    button(example.title, () => {
      controls.fill({ system: controls.texts().system, ...example.texts });
      settings.texts = controls.texts();
      prompt.value = example.prompt;
      prompt.focus();
      send();
    }),
  );
  return element("div", { class: "welcome" }, element("p", {}, "Write a message, or try:"), element("div", {}, ...examples));
}

function showTheme() {
  document.documentElement.dataset.theme = settings.theme;
  byId("theme").setAttribute("aria-label", `Colours: ${THEMES[settings.theme]}`);
  byId("theme").title = `Colours: ${THEMES[settings.theme]}`;
}

function nextTheme() {
  const themes = Object.keys(THEMES);
  settings.theme = themes[(themes.indexOf(settings.theme) + 1) % themes.length];
  keepSettings(settings);
  showTheme();
}

function showSettings(isShown) {
  document.body.classList.toggle("with-settings", isShown);
  byId("show-settings").setAttribute("aria-expanded", String(isShown));
  byId(isShown ? "hide-settings" : "show-settings").focus();
}

function openCode() {
  try {
    codeDialog.open();
  } catch (error) {
    if (!(error instanceof FieldError)) throw error;
    showProblem(error);
  }
}

async function share() {
  const link = linkTo(settings);
  history.replaceState(null, "", link);
  try {
    await navigator.clipboard.writeText(link);
    byId("share").textContent = "Copied";
  } catch {
    byId("share").textContent = "In the address bar";
  }
}

function onKey(event) {
  if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
  if (session.isRunning) session.stop();
  else if (document.body.classList.contains("with-settings")) showSettings(false);
}

const onClick = (id, act) => byId(id).addEventListener("click", act);
onClick("stop", () => session.stop());
onClick("clear", () => (session.clear(), prompt.focus()));
onClick("reset", () => (controls.fill({}), controls.unmarkAll(), keepSettings(Object.assign(settings, { texts: {} }))));
onClick("share", share);
onClick("theme", nextTheme);
onClick("show-code", openCode);
onClick("show-key", () => keyDialog.open());
onClick("show-settings", () => showSettings(!document.body.classList.contains("with-settings")));
onClick("hide-settings", () => showSettings(false));
byId("model").addEventListener("change", () => keepSettings(Object.assign(settings, { model: byId("model").value })));
document.addEventListener("keydown", onKey);
byId("composer").addEventListener("submit", (event) => (event.preventDefault(), send()));
prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});

showTheme();
status.ask();
