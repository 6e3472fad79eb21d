// How a channel is opened: TLS, options, retries and the key.

import * as grpc from "@grpc/grpc-js";

/** Certificates and keys: the text, or the bytes, of PEM files. */
export interface TlsOptions {
  /** Whom to trust; default: the roots that Node has. */
  ca?: string | Uint8Array | undefined;
  /** The client's own certificate, if the server asks for one; with `key`. */
  cert?: string | Uint8Array | undefined;
  /** The private key of `cert`. */
  key?: string | Uint8Array | undefined;
}

/** How to connect. */
export interface ConnectionOptions {
  /** Sent with every call as `authorization: Bearer …`; default: none. */
  apiKey?: string | undefined;
  /** TLS; default: plain text. */
  tls?: boolean | TlsOptions | undefined;
  /** Whether gRPC tries a call again that got UNAVAILABLE: up to four attempts, with backoff; default true. */
  retries?: boolean | undefined;
  /** How calls are spread where the target has several addresses; default `pick_first`. */
  loadBalancing?: "pick_first" | "round_robin" | "weighted_round_robin" | undefined;
}

const MAX_MESSAGE_BYTES = 32 * 1024 * 1024;
const KEEPALIVE_INTERVAL_MS = 60_000;
const KEEPALIVE_TIMEOUT_MS = 20_000;

// The server says UNAVAILABLE before any work; gRPC says it of a connection that cannot be made or breaks, and tries
// again only as long as nothing of the answer has come. A server that sends `grpc-retry-pushback-ms` chooses the delay.
// A request that comes twice has one completion, for every one has an id.
const RETRIES = {
  name: [{}],
  retryPolicy: {
    maxAttempts: 4,
    initialBackoff: "0.2s",
    maxBackoff: "5s",
    backoffMultiplier: 2,
    retryableStatusCodes: ["UNAVAILABLE"],
  },
};

/** TLS or plain text. */
export function credentials({ tls }: ConnectionOptions): grpc.ChannelCredentials {
  if (!tls) {
    return grpc.credentials.createInsecure();
  }
  const { ca, cert, key } = tls === true ? {} : tls;
  return grpc.credentials.createSsl(bytes(ca), bytes(key), bytes(cert));
}

/** Options of the channel. */
export function channelOptions({
  retries = true,
  loadBalancing = "pick_first",
}: ConnectionOptions): grpc.ChannelOptions {
  return {
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    // Without these a request over 1 MiB is never tried again. The second one is for all calls together.
    "grpc.per_rpc_retry_buffer_size": MAX_MESSAGE_BYTES,
    "grpc.retry_buffer_size": 8 * MAX_MESSAGE_BYTES,
    "grpc.keepalive_time_ms": KEEPALIVE_INTERVAL_MS,
    "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
    "grpc.enable_retries": retries ? 1 : 0,
    "grpc.service_config": JSON.stringify({
      loadBalancingConfig: [{ [loadBalancing]: {} }],
      methodConfig: retries ? [RETRIES] : [],
    }),
    // Else a TXT record of the target's name would override that.
    "grpc.service_config_disable_resolution": 1,
  };
}

/** What adds the key to every call. */
export function interceptors({ apiKey }: ConnectionOptions): grpc.Interceptor[] {
  if (apiKey === undefined) {
    return [];
  }
  const key = new grpc.Metadata();
  key.set("authorization", `Bearer ${apiKey}`);
  const addKey: grpc.Interceptor = (options, nextCall) =>
    new grpc.InterceptingCall(nextCall(options), {
      start(metadata, listener, next) {
        metadata.merge(key);
        next(metadata, listener);
      },
    });
  return [addKey];
}

function bytes(pem: string | Uint8Array | undefined): Buffer | null {
  return pem === undefined ? null : Buffer.from(pem);
}
