// A whole round with a tool: the model calls it, its result goes back, the model answers.

import { Message, Role, TokenwireClient, ToolChoiceMode } from "@tokenwire/client";

await using client = new TokenwireClient(process.argv[2] ?? "127.0.0.1:50051");

const getWeather = {
  name: "get_weather",
  description: "The weather in a city now",
  parameters: JSON.stringify({
    type: "object",
    properties: { city: { type: "string", maxLength: 20 } },
    required: ["city"],
    additionalProperties: false,
  }),
};
const model = "smollm2-135m-instruct";
const messages = [Message.create({ role: Role.USER, content: "What is the weather in Paris?" })];

const first = await client.chat({
  model,
  messages,
  tools: [{ function: getWeather }],
  toolChoice: { mode: ToolChoiceMode.REQUIRED },
  parallelToolCalls: false,
  maxCompletionTokens: 64,
});
const toolCalls = first.choices[0]?.toolCalls ?? [];
messages.push(Message.create({ role: Role.ASSISTANT, toolCalls }));
for (const call of toolCalls) {
  const { city } = JSON.parse(call.function?.arguments ?? "{}") as { city: string };
  console.log(`${call.function?.name}: ${city}`);
  messages.push(Message.create({ role: Role.TOOL, toolCallId: call.id, content: `${city}: 21 °C, sunny` }));
}

const answer = await client.chat({ model, messages, maxCompletionTokens: 32 });
console.log(answer.choices[0]?.content);
