// OpenAI's SDK for Node: answers, streams, tools, types, errors, and a call that is given up.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const model = process.env.TOKENWIRE_MODEL;
const client = new OpenAI({ baseURL: process.env.TOKENWIRE_URL, apiKey: "-", maxRetries: 0, timeout: 100_000 });
const messages = [{ role: "user", content: "What is the capital of France?" }];
const asked = { model, messages, temperature: 0, max_completion_tokens: 12 };
const City = z.strictObject({ name: z.string().max(12), size: z.enum(["small", "large"]) });

test("an answer comes whole, with the id of its request", async () => {
  const answer = await client.chat.completions.create(asked);
  assert.match(answer.choices[0].message.content, /Paris/);
  assert.ok(answer._request_id);
});

test("a stream adds up to the answer", async () => {
  const whole = await client.chat.completions.create(asked);
  let text = "";
  for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
    text += chunk.choices[0]?.delta.content ?? "";
  }
  assert.equal(text, whole.choices[0].message.content);
});

test("the stream helper folds the stream", async () => {
  const whole = await client.chat.completions.create(asked);
  const stream = client.chat.completions.stream({ ...asked, stream_options: { include_usage: true } });
  const folded = await stream.finalChatCompletion();
  assert.deepEqual(folded.choices[0].message.content, whole.choices[0].message.content);
  assert.equal(folded.usage.total_tokens, whole.usage.total_tokens);
});

test("runTools calls a function and hands its result on", async () => {
  const called = [];
  const tool = {
    type: "function",
    function: {
      name: "get_weather",
      description: "The weather of a city.",
      parameters: City.toJSONSchema(),
      parse: (text) => City.parse(JSON.parse(text)),
      function: (city) => called.push(city) && "sunny",
    },
  };
  const named = { type: "function", function: { name: "get_weather" } };
  const runner = client.chat.completions.runTools({ model, messages, tools: [tool], tool_choice: named, seed: 1 });
  await runner.done();
  assert.equal(called.length, 1);
  assert.equal(runner.messages.at(-1).role, "tool");
});

test("an answer is parsed into the type that made the schema", async () => {
  const response_format = zodResponseFormat(City, "city");
  const answer = await client.chat.completions.parse({ model, messages, seed: 1, response_format });
  City.parse(answer.choices[0].message.parsed);
});

test("a response is streamed", async () => {
  const stream = client.responses.stream({ model, input: "What is the capital of France?", temperature: 0, max_output_tokens: 16 });
  const response = await stream.finalResponse();
  assert.match(response.output_text, /Paris/);
});

test("a stream can be given up", async () => {
  const stream = await client.chat.completions.create({ ...asked, max_completion_tokens: 500, stream: true, ignore_eos: true });
  let chunks = 0;
  for await (const chunk of stream) {
    if (chunk.choices.length && ++chunks === 3) stream.controller.abort();
  }
  assert.ok(chunks < 100);
});

test("errors are those of the SDK", async () => {
  await assert.rejects(client.chat.completions.create({ ...asked, temperature: 3 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, "temperature");
    return true;
  });
  await assert.rejects(client.chat.completions.create({ ...asked, model: "unknown" }), OpenAI.NotFoundError);
});
