// The parameters of a request: how each is asked for, and how its text becomes JSON.

/** A text that is no value of its parameter. */
export class FieldError extends Error {
  constructor(param, message) {
    super(message);
    this.param = param;
  }
}

const number = (text) => {
  const value = Number(text);
  if (Number.isNaN(value)) throw new Error("is not a number");
  return value;
};
const integer = (text) => {
  const value = number(text);
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) throw new Error("is more than a browser can count to");
  return value;
};
const json = (text) => {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`is not JSON: ${error.message}`);
  }
};
const ESCAPES = { "\\n": "\n", "\\t": "\t", "\\\\": "\\" };
const lines = (text) =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.replace(/\\[nt\\]/g, (escape) => ESCAPES[escape]));
const integers = (text) => text.split(/[\s,]+/).filter(Boolean).map(integer);
const biases = (text) =>
  Object.fromEntries(
    text
      .split(/[\n,]+/)
      .filter((line) => line.trim())
      .map((line) => {
        const parts = line.split(":");
        if (parts.length !== 2) throw new Error(`has one “id: bias” a line; got ${line.trim()}`);
        return [String(integer(parts[0])), number(parts[1])];
      }),
  );
/** Functions, with or without `{"type": "function", "function": …}` around them. */
const tools = (text) => {
  const list = json(text);
  if (!Array.isArray(list)) throw new Error("is not a list of functions");
  return list.map((tool) => (tool.function ? tool : { type: "function", function: tool }));
};
const words = (text) => text;
const flag = (text) => text === "true";
const toolChoice = (text) =>
  ["none", "auto", "required"].includes(text) ? text : { type: "function", function: { name: text } };

const input = (name, hint, read, more = {}) => ({ name, hint, read, kind: "input", ...more });
const area = (name, hint, read, more = {}) => ({ name, hint, read, kind: "area", ...more });
const select = (name, options, read, more = {}) => ({ name, options, read, kind: "select", ...more });
const check = (name, hint) => ({ name, hint, read: flag, kind: "check" });

/** Groups of controls, in the order of the page. `name` is the parameter; what is left empty is not sent. */
export const GROUPS = [
  { title: "System prompt", open: true, controls: [area("system", "", words, { label: "System prompt", bare: true })] },
  {
    title: "Sampling",
    open: true,
    columns: true,
    controls: [
      input("temperature", "0–2", number, { usual: "1" }),
      input("top_p", "0–1", number, { usual: "1" }),
      input("top_k", "0 = off", integer, { usual: "0" }),
      input("min_p", "0–1", number, { usual: "0" }),
      input("frequency_penalty", "±2", number, { usual: "0" }),
      input("presence_penalty", "±2", number, { usual: "0" }),
      input("repetition_penalty", "", number, { usual: "1" }),
      input("seed", "", integer, { usual: "drawn" }),
      input("n", "choices", integer, { usual: "1" }),
      area("logit_bias", "one “token id: bias” a line", biases, { wide: true }),
      area("bad_words", "one a line", lines, { wide: true }),
    ],
  },
  {
    title: "Length and end",
    columns: true,
    controls: [
      input("max_completion_tokens", "", integer, { usual: "the context" }),
      input("min_tokens", "", integer, { usual: "0" }),
      area("stop", "up to 4, one a line; \\n is a line break", lines, { wide: true }),
      input("stop_token_ids", "commas between", integers, { wide: true }),
      check("ignore_eos", "go on past the end of text"),
    ],
  },
  {
    title: "Log-probabilities",
    columns: true,
    controls: [
      check("logprobs", "the heat map"),
      input("top_logprobs", "0–20", integer, { usual: "0" }),
      input("prompt_logprobs", "0–20", integer, { usual: "none" }),
    ],
  },
  {
    title: "Form of the answer",
    controls: [
      select("response_format", ["text", "json_object", "json_schema", "regex", "choice", "lark"], words, {
        usual: "text",
        hint: "type",
      }),
      area("form", "", words, { label: "JSON schema" }),
    ],
  },
  {
    title: "Tools",
    controls: [
      area("tools", "JSON list of functions", tools, { tall: true }),
      select("tool_choice", ["auto", "none", "required"], toolChoice, { usual: "auto" }),
      select("parallel_tool_calls", ["true", "false"], flag, { usual: "true" }),
    ],
  },
  {
    title: "Template and queue",
    columns: true,
    controls: [
      area("chat_template_kwargs", "JSON object", json, { wide: true }),
      select("service_tier", ["auto", "default", "flex", "priority"], words, { usual: "auto" }),
      input("priority", "±100", integer, { usual: "0" }),
      input("user", "", words),
      area("metadata", "JSON object of texts", json, { wide: true }),
      check("store", "keep the completion"),
    ],
  },
];

export const PARAMETERS = GROUPS.flatMap((group) => group.controls);

/** The text of each form but `text` and `json_object`: label, and what the API calls it. */
export const FORMS = {
  json_schema: { label: "JSON schema", read: (text) => ({ name: "answer", schema: json(text), strict: true }) },
  regex: { label: "Regular expression", read: words },
  choice: { label: "Choices, one a line", read: lines },
  lark: { label: "Lark grammar", read: words },
};

/** The members of a request that texts of controls stand for. Throws `FieldError`. */
export function parametersOf(texts) {
  const given = {};
  for (const { name, read } of PARAMETERS) {
    if (texts[name]?.trim()) given[name] = readAs(name, read, texts[name]);
  }
  const { system, form, response_format: type, ...parameters } = given;
  if (type) parameters.response_format = { type, ...formOf(type, texts.form ?? "") };
  return { system, parameters };
}

function formOf(type, text) {
  return type in FORMS ? { [type]: readAs("form", FORMS[type].read, text) } : {};
}

function readAs(name, read, text) {
  try {
    return read(text);
  } catch (error) {
    throw new FieldError(name, `${name} ${error.message}`);
  }
}
