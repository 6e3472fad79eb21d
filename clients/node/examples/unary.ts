// The whole answer at once.

import { FinishReason, Role, TokenwireClient } from "@tokenwire/client";

await using client = new TokenwireClient(process.argv[2] ?? "127.0.0.1:50051");

const completion = await client.chat({
  model: "smollm2-135m-instruct",
  messages: [
    { role: Role.SYSTEM, content: "Be brief." },
    { role: Role.USER, content: "Name three rivers." },
  ],
  temperature: 0.2,
  maxCompletionTokens: 32,
});
const [choice] = completion.choices;
console.log(choice?.content);
console.log(FinishReason[choice?.finishReason ?? 0], completion.usage?.totalTokens, "tokens");
