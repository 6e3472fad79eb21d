// The errors that a call can throw, and how they are read out of a gRPC status and its rich details.

import { type ServiceError, status } from "@grpc/grpc-js";

import type { Duration } from "./gen/google/protobuf/duration.js";
import { BadRequest, ErrorInfo, QuotaFailure, RetryInfo } from "./gen/google/rpc/error_details.js";
import { Status } from "./gen/google/rpc/status.js";
import type { ErrorReason } from "./gen/tokenwire/v1/errors.js";

/** Name of an `ErrorReason` of the contract; empty: the server gave none. A newer server may have others. */
export type Reason = Exclude<keyof typeof ErrorReason, "UNSPECIFIED"> | "" | (string & {});

/** A field that breaks its rule, or a limit that is used up. */
export interface Violation {
  /** Path in the contract (`messages[0].role`), or whose limit and which (`key:alice/requests_per_minute`). */
  readonly field: string;
  /** What is wrong with it. */
  readonly description: string;
}

/** What an error has beside code and message. */
interface Details {
  reason: Reason;
  violations: readonly Violation[];
  retryAfterMs: number | undefined;
  metadata: Readonly<Record<string, string>>;
}

const NO_DETAILS: Details = { reason: "", violations: [], retryAfterMs: undefined, metadata: {} };

/** A call failed. `message` is the server's, or gRPC's own. */
export class TokenwireError extends Error {
  override readonly name: string = "TokenwireError";

  /** The gRPC status; CANCELLED also where the caller's signal aborted: `cause` is then the signal's reason. */
  readonly code: status;
  /** Why; stable, so a program may switch on it. */
  readonly reason: Reason;
  /** Every field that breaks its rule, or the limits that are used up. */
  readonly violations: readonly Violation[];
  /** When to try again, in milliseconds; absent where the server did not say. */
  readonly retryAfterMs: number | undefined;
  /** Facts for programs; `ErrorReason` in the contract says which reason has which. */
  readonly metadata: Readonly<Record<string, string>>;

  constructor(message: string, code: status, options: ErrorOptions & Partial<Details> = {}) {
    super(message, options);
    const { reason, violations, retryAfterMs, metadata } = { ...NO_DETAILS, ...options };
    this.code = code;
    this.reason = reason;
    this.violations = violations;
    this.retryAfterMs = retryAfterMs;
    this.metadata = metadata;
  }

  /** The error of a failed call, of a raw stub's too. What is no gRPC error becomes UNKNOWN, with it as `cause`. */
  static from(error: unknown): TokenwireError {
    if (error instanceof TokenwireError) {
      return error;
    }
    if (!isServiceError(error)) {
      return new TokenwireError(error instanceof Error ? error.message : String(error), status.UNKNOWN, {
        cause: error,
      });
    }
    return new TokenwireError(error.details || (status[error.code] ?? "UNKNOWN"), error.code, {
      cause: error,
      ...readDetails(error),
    });
  }
}

/** The stream broke its grammar, or ended without `completed`: a defect of the server, or of something in between. */
export class BrokenStreamError extends TokenwireError {
  override readonly name = "BrokenStreamError";

  constructor(message: string) {
    super(message, status.INTERNAL);
  }
}

/** Whether gRPC has made this error. */
export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "details" in error && "metadata" in error;
}

function readDetails(error: ServiceError): Details {
  const [packed] = error.metadata.get("grpc-status-details-bin");
  const details = { ...NO_DETAILS };
  if (!(packed instanceof Uint8Array)) {
    return details;
  }
  for (const { typeUrl, value } of parsed(() => Status.decode(packed).details) ?? []) {
    Object.assign(
      details,
      parsed(() => readDetail(typeUrl.slice(typeUrl.lastIndexOf("/") + 1), value)),
    );
  }
  return details;
}

/** What does not parse must not hide the status, nor the rest of the details. */
function parsed<Value>(parse: () => Value): Value | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}

function readDetail(type: string, value: Uint8Array): Partial<Details> {
  switch (type) {
    case "google.rpc.ErrorInfo": {
      const { reason, metadata } = ErrorInfo.decode(value);
      return { reason, metadata };
    }
    case "google.rpc.RetryInfo": {
      const { retryDelay } = RetryInfo.decode(value);
      return { retryAfterMs: retryDelay && milliseconds(retryDelay) };
    }
    case "google.rpc.BadRequest":
      return {
        violations: BadRequest.decode(value).fieldViolations.map(({ field, description }) => ({ field, description })),
      };
    case "google.rpc.QuotaFailure":
      return {
        violations: QuotaFailure.decode(value).violations.map(({ subject, description }) => ({
          field: subject,
          description,
        })),
      };
    default:
      return {};
  }
}

function milliseconds(duration: Duration): number {
  return Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}
