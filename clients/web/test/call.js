// Calls a server as the page does, and prints what comes as one line of JSON: call.js BASE_URL stream|error|stop [API_KEY]

import { ask, connect, explain } from "../src/chat.js";

const [baseUrl, what, apiKey] = process.argv.slice(2);
const client = connect(baseUrl, apiKey);
const call = new AbortController();
const texts = [];
let error = null;
try {
  const parameters = what === "error" ? { temperature: 3, topP: -1 } : {};
  for await (const text of ask(client, "tiny", "hi", { signal: call.signal, ...parameters })) {
    texts.push(text);
    if (what === "stop") call.abort();
  }
} catch (caught) {
  error = explain(caught);
}
console.log(JSON.stringify({ texts, error }));
