// What an empty conversation offers to try.

const CITY = {
  type: "object",
  properties: { name: { type: "string" }, country: { type: "string" }, inhabitants: { type: "integer" } },
  required: ["name", "country", "inhabitants"],
  additionalProperties: false,
};

const WEATHER = [
  {
    name: "get_weather",
    description: "The weather in a city, now.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
];

const pretty = (value) => JSON.stringify(value, null, 2);

/** `texts` are those of the controls. */
export const EXAMPLES = [
  { title: "A short answer", prompt: "What is gRPC, in two sentences?", texts: { temperature: "0.5", max_completion_tokens: "120" } },
  {
    title: "How sure it is",
    prompt: "What is the capital of France?",
    texts: { temperature: "0.5", logprobs: "true", top_logprobs: "5", max_completion_tokens: "60" },
  },
  {
    title: "JSON by a schema",
    prompt: "Tell me about Paris.",
    texts: { temperature: "0", response_format: "json_schema", form: pretty(CITY), max_completion_tokens: "200" },
  },
  {
    title: "A tool to call",
    prompt: "What is the weather in Paris?",
    texts: { temperature: "0", tools: pretty(WEATHER), tool_choice: "get_weather", max_completion_tokens: "120" },
  },
];
