// The page: a question, its answer as it comes, and a button that stops it. Its address may have `?server=…&model=…`, and
// `&question=…`, which is asked at once.

import { ask, connect, explain } from "./chat.js";

const settings = new URLSearchParams(location.search);
const client = connect(settings.get("server") ?? "http://127.0.0.1:8080");
const model = settings.get("model") ?? "smollm2-135m-instruct";
const form = document.querySelector("form");
const answer = document.querySelector("#answer");
let call = new AbortController();

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  call.abort();
  call = new AbortController();
  const { signal } = call;
  answer.textContent = "";
  try {
    for await (const text of ask(client, model, form.question.value, { signal })) answer.append(text);
  } catch (error) {
    if (!signal.aborted) answer.append(`\n${JSON.stringify(explain(error), null, 2)}`);
  }
});
form.stop.addEventListener("click", () => call.abort());
if (settings.has("question")) {
  form.question.value = settings.get("question");
  form.requestSubmit();
}
