// Makes a client of every service from the loaded contract, typed by the generated types.
//
//   node stubs.js PROTO_FOLDER FILE...

import * as grpc from "@grpc/grpc-js";
import * as loader from "@grpc/proto-loader";

import type { ProtoGrpcType as Chat } from "./generated/chat";
import type { ProtoGrpcType as Models } from "./generated/models";
import type { ProtoGrpcType as Tokens } from "./generated/tokens";
import type { ChatCompletionRequest } from "./generated/tokenwire/v1/ChatCompletionRequest";

const [folder, ...files] = process.argv.slice(2);
const definition = loader.loadSync(files, { includeDirs: [folder], keepCase: true, longs: String, enums: String });
const { tokenwire } = grpc.loadPackageDefinition(definition) as unknown as Chat & Models & Tokens;

const request: ChatCompletionRequest = {
  model: "m",
  messages: [{ role: "ROLE_USER", content: "hi" }],
  temperature: 0.2,
  logit_bias: { 7: -100 },
  seed: "-1",
  tools: [{ function: { name: "f", parameters: "{}" } }],
  tool_choice: { mode: "TOOL_CHOICE_MODE_REQUIRED" },
  response_format: { text: {} },
};

const credentials = grpc.credentials.createInsecure();
const chat = new tokenwire.v1.ChatService("127.0.0.1:1", credentials);
const models = new tokenwire.v1.ModelService("127.0.0.1:1", credentials);
const tokens = new tokenwire.v1.TokenService("127.0.0.1:1", credentials);

const stream: grpc.ClientReadableStream<unknown> = chat.StreamChatCompletion(request);
stream.on("error", () => {});
stream.cancel();
chat.GetChatCompletion({ completion_id: "chatcmpl-1" }, () => {});
for (const client of [chat, models, tokens]) {
  client.close();
}
