// An answer that matches a JSON schema.

import { Role, TokenwireClient } from "@tokenwire/client";

await using client = new TokenwireClient(process.argv[2] ?? "127.0.0.1:50051");

const schema = {
  type: "object",
  properties: {
    city: { type: "string", maxLength: 20 },
    people: { type: "integer", minimum: 0, maximum: 99_999_999 },
  },
  required: ["city", "people"],
  additionalProperties: false,
};
const completion = await client.chat({
  model: "smollm2-135m-instruct",
  messages: [{ role: Role.USER, content: "Tell me about Paris." }],
  responseFormat: { jsonSchema: { schema: JSON.stringify(schema) } },
  maxCompletionTokens: 64,
});
const { city, people } = JSON.parse(completion.choices[0]?.content ?? "") as { city: string; people: number };
console.log(`${city}: ${people} people`);
