// The answer as it comes: what is new in each update, the whole in the last one.

import { type ChatCompletion, Role, TokenwireClient } from "@tokenwire/client";

await using client = new TokenwireClient(process.argv[2] ?? "127.0.0.1:50051");

const updates = client.stream({
  model: "smollm2-135m-instruct",
  messages: [{ role: Role.USER, content: "Why is the sky blue?" }],
  maxCompletionTokens: 48,
});
let completion: ChatCompletion | undefined;
for await (const update of updates) {
  if (update.heartbeat) {
    console.error("in the queue at", update.heartbeat.queuePosition);
  }
  process.stdout.write(update.text);
  completion = update.completion;
}
console.log(`\n${completion?.usage?.completionTokens} tokens`);
