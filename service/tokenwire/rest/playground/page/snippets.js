// A request as commands that can be copied: curl, grpcurl and Python.

const PRINT_CALLS = [
  "        for call in choice.delta.tool_calls or []:",
  '            print(call.function.name or "", call.function.arguments or "", end="", flush=True)',
];
const KEY = "TOKENWIRE_API_KEY";
const BEARER = `-H "authorization: Bearer $${KEY}"`;

/** What `create` of the OpenAI package has no argument for; it sends these members beside its own. */
const EXTENSIONS = new Set([
  "top_k",
  "min_p",
  "repetition_penalty",
  "stop_token_ids",
  "min_tokens",
  "ignore_eos",
  "bad_words",
  "prompt_logprobs",
  "chat_template_kwargs",
  "priority",
]);

/** `server` is the base address of the REST API, `target` that of gRPC. With `hasKey` the key is a variable of the shell. */
export const SNIPPETS = {
  curl: (body, { server, hasKey }) =>
    joined([
      `curl -N ${quoted(`${server}v1/chat/completions`)}`,
      "-H 'content-type: application/json'",
      hasKey && BEARER,
      `-d ${quoted(JSON.stringify(body, null, 2))}`,
    ]),
  grpcurl: (body, { server, target, hasKey }) =>
    joined([
      server.startsWith("https:") ? "grpcurl" : "grpcurl -plaintext",
      hasKey && BEARER,
      `-d ${quoted(JSON.stringify(contractOf(body), null, 2))}`,
      `${quoted(target)} tokenwire.v1.ChatService/StreamChatCompletion`,
    ]),
  Python: pythonCall,
};

const joined = (parts) => parts.filter(Boolean).join(" \\\n  ");

/** One word of a POSIX shell. */
export function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** The JSON form of the contract's ChatCompletionRequest. */
export function contractOf({ stream, stream_options, priority, ...body }) {
  return {
    ...body,
    messages: body.messages.map(contractMessage),
    ...(body.tools && { tools: body.tools.map(contractTool) }),
    ...(body.tool_choice && { tool_choice: contractChoice(body.tool_choice) }),
    ...(body.response_format && { response_format: contractForm(body.response_format) }),
    ...(body.service_tier && { service_tier: `SERVICE_TIER_${body.service_tier.toUpperCase()}` }),
    ...(body.chat_template_kwargs && { chat_template_kwargs: JSON.stringify(body.chat_template_kwargs) }),
    ...(priority !== undefined && { execution_policy: { priority } }),
  };
}

function contractMessage({ role, content, reasoning_content: reasoning, tool_calls: calls, ...message }) {
  return {
    role: `ROLE_${role.toUpperCase()}`,
    ...(content !== null && { content }),
    ...message,
    ...(reasoning && { reasoning }),
    ...(calls && { tool_calls: calls.map(({ id, function: called }) => ({ id, function: called })) }),
  };
}

function contractTool({ function: { parameters, ...definition } }) {
  return { function: { ...definition, ...(parameters && { parameters: JSON.stringify(parameters) }) } };
}

function contractChoice(choice) {
  if (typeof choice !== "string") return { function_name: choice.function.name };
  return { mode: `TOOL_CHOICE_MODE_${choice.toUpperCase()}` };
}

function contractForm({ type, [type]: form }) {
  if (type === "json_schema") return { json_schema: { ...form, schema: JSON.stringify(form.schema) } };
  if (type === "choice") return { choice: { options: form } };
  return { [type]: form ?? {} };
}

function pythonCall(body, { server, hasKey }) {
  const { stream, stream_options: streamOptions, ...members } = body;
  const own = Object.entries(members).filter(([name]) => !EXTENSIONS.has(name));
  const extra = Object.fromEntries(Object.entries(members).filter(([name]) => EXTENSIONS.has(name)));
  const more = Object.keys(extra).length ? [["extra_body", extra]] : [];
  const given = [...own, ["stream", stream], ["stream_options", streamOptions], ...more];
  const key = hasKey ? `os.environ["${KEY}"]` : '"-"';
  return [
    ...(hasKey ? ["import os", ""] : []),
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${JSON.stringify(`${server}v1`)}, api_key=${key})`,
    "stream = client.chat.completions.create(",
    ...given.map(([name, value]) => `    ${name}=${python(value, "    ")},`),
    ")",
    "for chunk in stream:",
    "    for choice in chunk.choices:",
    '        print(choice.delta.content or "", end="", flush=True)',
    ...(body.tools ? PRINT_CALLS : []),
  ].join("\n");
}

/** A JSON value as a literal of Python; a JSON string is one already. */
function python(value, indent) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const deeper = `${indent}    `;
  const items = Array.isArray(value)
    ? value.map((item) => python(item, deeper))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${python(item, deeper)}`);
  const [opening, closing] = Array.isArray(value) ? "[]" : "{}";
  if (!items.length) return opening + closing;
  return `${opening}\n${items.map((item) => `${deeper}${item},\n`).join("")}${indent}${closing}`;
}
