// Chat with a Tokenwire server from a browser, over grpc-web.

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { BadRequestSchema, ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { ChatService, Role } from "./gen/tokenwire/v1/chat_pb.js";

/** Calls the ChatService behind a proxy that speaks grpc-web, such as `https://chat.example.com`. */
export function connect(baseUrl, apiKey) {
  const withKey = (next) => (request) => {
    if (apiKey) request.header.set("authorization", `Bearer ${apiKey}`);
    return next(request);
  };
  return createClient(ChatService, createGrpcWebTransport({ baseUrl, interceptors: [withKey] }));
}

/** The pieces of the answer as they come. `signal` (an AbortSignal) cancels the call. */
export async function* ask(client, model, question, { signal, ...parameters } = {}) {
  const request = { model, messages: [{ role: Role.USER, body: { case: "content", value: question } }], ...parameters };
  let isComplete = false;
  for await (const { event } of client.streamChatCompletion(request, { signal })) {
    if (event.case === "delta") yield event.value.content;
    isComplete ||= event.case === "completed";
  }
  if (!isComplete) throw new ConnectError("the stream ended without `completed`", Code.DataLoss);
}

/** What an error tells: the status, the reason (see `ErrorReason`), the message, and the fields that are wrong. */
export function explain(error) {
  const told = ConnectError.from(error);
  return {
    code: Code[told.code],
    reason: told.findDetails(ErrorInfoSchema)[0]?.reason ?? "",
    message: told.rawMessage,
    fields: told.findDetails(BadRequestSchema).flatMap((found) => found.fieldViolations.map(({ field }) => field)),
  };
}
