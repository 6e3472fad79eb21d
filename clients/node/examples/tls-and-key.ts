// An encrypted connection and an API key: TOKENWIRE_CA names a PEM file, TOKENWIRE_API_KEY has the key.

import { readFileSync } from "node:fs";

import { Role, TokenwireClient } from "@tokenwire/client";

const { TOKENWIRE_CA: ca, TOKENWIRE_API_KEY: apiKey } = process.env;
await using client = new TokenwireClient(process.argv[2] ?? "127.0.0.1:50051", {
  apiKey,
  tls: { ca: ca ? readFileSync(ca) : undefined }, // without `ca`: the roots that Node has
});

for (const model of await client.models()) {
  console.log("served:", model.id);
}
const completion = await client.chat({
  model: "smollm2-135m-instruct",
  messages: [{ role: Role.USER, content: "Say hello." }],
  maxCompletionTokens: 16,
});
console.log(completion.choices[0]?.content);
