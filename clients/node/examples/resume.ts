// A stream that survives a lost connection: it goes on where it was, and the loop does not notice.

import { Role, TokenwireClient } from "@tokenwire/client";

await using client = new TokenwireClient(process.argv[2] ?? "127.0.0.1:50051");

const updates = client.stream(
  {
    model: "smollm2-135m-instruct",
    messages: [{ role: Role.USER, content: "Why is the sky blue?" }],
    maxCompletionTokens: 64,
  },
  { resume: true },
);
let numTokens = 0;
for await (const update of updates) {
  process.stdout.write(update.text);
  numTokens = update.completion.usage?.completionTokens ?? 0; // 0 before the last update
}
console.log(`\n${numTokens} tokens`);
