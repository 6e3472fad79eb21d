// Leaving a stream frees its place on the server at once. Two ways: leave the loop, or abort a signal from elsewhere.

import { Role, status, TokenwireClient, TokenwireError } from "@tokenwire/client";

await using client = new TokenwireClient(process.argv[2] ?? "127.0.0.1:50051");
const request = {
  model: "smollm2-135m-instruct",
  messages: [{ role: Role.USER, content: "Tell me a long story." }],
  maxCompletionTokens: 64,
};

let text = "";
for await (const update of client.stream(request)) {
  text += update.text;
  if (text.length > 20) {
    break;
  }
}
console.log(`left after: ${text}`);

const controller = new AbortController();
try {
  for await (const update of client.stream(request, { signal: controller.signal })) {
    if (update.text) {
      controller.abort();
    }
  }
} catch (error) {
  if (!(error instanceof TokenwireError) || error.code !== status.CANCELLED) {
    throw error;
  }
  console.log(`aborted: ${error.message}`);
}
