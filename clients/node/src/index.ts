// Client of Tokenwire: chat with a language model of your own over gRPC.

export { status } from "@grpc/grpc-js";

export {
  type CallOptions,
  type CancelTarget,
  type ChatCompletionRequestInit,
  type StreamOptions,
  type Stub,
  TokenwireClient,
  type TokenwireClientOptions,
  type UnaryMethod,
} from "./client.js";
export type { ConnectionOptions, TlsOptions } from "./connection.js";
export { BrokenStreamError, type Reason, TokenwireError, type Violation } from "./errors.js";
export { Duration } from "./gen/google/protobuf/duration.js";
export { Timestamp } from "./gen/google/protobuf/timestamp.js";
export * from "./gen/tokenwire/v1/chat.js";
export * from "./gen/tokenwire/v1/errors.js";
export * from "./gen/tokenwire/v1/models.js";
export * from "./gen/tokenwire/v1/operations.js";
export * from "./gen/tokenwire/v1/tokens.js";
export type { StreamUpdate } from "./stream.js";
