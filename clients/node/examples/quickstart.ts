import { Role, TokenwireClient } from "@tokenwire/client";

const client = new TokenwireClient(process.argv[2] ?? "127.0.0.1:50051");
const messages = [{ role: Role.USER, content: "Why is the sky blue?" }];

for await (const update of client.stream({ model: "smollm2-135m-instruct", messages, maxCompletionTokens: 64 })) {
  process.stdout.write(update.text); // what is new; `update.completion` is the answer so far
}
await client.close();
