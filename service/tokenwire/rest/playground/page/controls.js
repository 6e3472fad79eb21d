// The controls of the settings: made from the table of parameters, read, kept, and marked where they are wrong.

import { element } from "./dom.js";
import { FORMS, GROUPS, PARAMETERS } from "./parameters.js";

const FALSE = "";

export class Controls {
  /** Fills `place`; `onChange` is called after each change. */
  constructor(place, onChange) {
    this.fields = new Map();
    place.replaceChildren(...GROUPS.map((group) => this.group(group)));
    place.addEventListener("input", (event) => this.changed(event.target, onChange));
    this.adapt();
  }

  group({ title, open, columns, controls }) {
    const body = element("div", { class: columns ? "columns" : "rows" }, ...controls.map((each) => this.field(each)));
    return element("details", { open: open === true }, element("summary", {}, title, element("span", { class: "set" })), body);
  }

  field(parameter) {
    const id = `parameter-${parameter.name}`;
    const control = makeControl(parameter, { id, name: parameter.name, "aria-describedby": `${id}-problem` });
    const hint = parameter.hint ? element("small", {}, parameter.hint) : null;
    const label = element("label", { for: id, class: parameter.bare && "hidden" }, parameter.label ?? parameter.name, hint);
    const problem = element("p", { class: "problem", id: `${id}-problem` });
    const inside = parameter.kind === "check" ? [control, label] : [label, control];
    const field = element("div", { class: `field ${parameter.kind}`, "data-wide": parameter.wide === true }, ...inside, problem);
    this.fields.set(parameter.name, { field, control, label, problem });
    return field;
  }

  /** Text of each control. */
  texts() {
    return Object.fromEntries([...this.fields].map(([name, { control }]) => [name, textOf(control)]));
  }

  /** Sets all controls; those without a text are emptied. */
  fill(texts) {
    this.adaptToolChoice(texts.tools ?? "");
    for (const [name, { control }] of this.fields) {
      const text = String(texts[name] ?? "");
      if (control.type === "checkbox") control.checked = text === "true";
      else control.value = text;
    }
    this.adapt();
  }

  /** Sets one control as if it were done by hand. */
  set(name, text) {
    const { control } = this.fields.get(name);
    control.value = text;
    control.dispatchEvent(new Event("input", { bubbles: true }));
  }

  changed(control, onChange) {
    this.unmark(control.name);
    if (control.name === "tools") this.adaptToolChoice(control.value);
    this.adapt();
    onChange();
  }

  /** Shows what the other controls make sensible, and how many of each group are set. */
  adapt() {
    const form = FORMS[textOf(this.fields.get("response_format").control)];
    const { field, label } = this.fields.get("form");
    field.hidden = !form;
    if (form) label.textContent = form.label;
    for (const group of GROUPS) {
      const { field: first } = this.fields.get(group.controls[0].name);
      const count = group.controls.filter(({ name }) => textOf(this.fields.get(name).control).trim()).length;
      first.closest("details").querySelector(".set").textContent = count ? String(count) : "";
    }
  }

  /** Offers the functions by their names. */
  adaptToolChoice(text) {
    const { control } = this.fields.get("tool_choice");
    const taken = control.value;
    const options = PARAMETERS.find(({ name }) => name === "tool_choice").options;
    control.replaceChildren(...optionsOf([...options, ...functionNames(text)], "auto"));
    control.value = taken;
  }

  /** Says what is wrong beside the control that a path of the API belongs to; false where there is none. */
  mark(param, message) {
    const root = param.split(/[.[]/)[0];
    const inForm = root === "response_format" && param !== root && !param.endsWith(".type");
    const found = this.fields.get(inForm ? "form" : root);
    if (!found) return false;
    found.problem.textContent = message;
    found.control.setAttribute("aria-invalid", "true");
    found.field.closest("details").open = true;
    found.field.scrollIntoView({ block: "nearest" });
    return true;
  }

  unmark(name) {
    const { control, problem } = this.fields.get(name);
    problem.textContent = "";
    control.removeAttribute("aria-invalid");
  }

  unmarkAll() {
    for (const name of this.fields.keys()) this.unmark(name);
  }
}

function makeControl({ kind, options, usual, tall }, attributes) {
  if (kind === "select") return element("select", attributes, ...optionsOf(options, usual));
  if (kind === "check") return element("input", { ...attributes, type: "checkbox" });
  const text = { ...attributes, spellcheck: "false", autocomplete: "off", placeholder: usual };
  if (kind === "area") return element("textarea", { ...text, rows: tall ? 6 : 2 });
  return element("input", { ...text, type: "text" });
}

function optionsOf(options, usual) {
  return [element("option", { value: "" }, `default (${usual})`), ...options.map((each) => element("option", {}, each))];
}

function textOf(control) {
  if (control.type === "checkbox") return control.checked ? "true" : FALSE;
  return control.value;
}

function functionNames(text) {
  try {
    return JSON.parse(text).map((tool) => (tool.function ?? tool).name).filter((name) => typeof name === "string");
  } catch {
    return []; // still being written
  }
}
