package dev.tokenwire.client;

import dev.tokenwire.v1.ErrorReason;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** A call failed. The message is the server's; the cause, where there is one, is gRPC's own exception. */
public class TokenwireException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** As {@link #code()}. */
  private final Status.Code code;

  private final transient ErrorDetails details;

  TokenwireException(String message, Status.Code code, ErrorDetails details, Throwable cause) {
    super(message, cause);
    this.code = code;
    this.details = details;
  }

  /**
   * The exception for a failed call of a generated stub.
   *
   * @param failure what the stub threw
   * @return the same failure, with its details read
   */
  public static TokenwireException from(StatusRuntimeException failure) {
    return from(failure.getStatus(), failure.getTrailers(), failure);
  }

  /**
   * The exception for a failed call of a generated stub that throws checked exceptions.
   *
   * @param failure what the stub threw
   * @return the same failure, with its details read
   */
  public static TokenwireException from(StatusException failure) {
    return from(failure.getStatus(), failure.getTrailers(), failure);
  }

  /** Whatever a call of gRPC ended with; a Throwable that has no status is UNKNOWN. */
  static TokenwireException from(Throwable failure) {
    return from(Status.fromThrowable(failure), Status.trailersFromThrowable(failure), failure);
  }

  static TokenwireException from(Status status, Metadata trailers, Throwable cause) {
    String message = status.getDescription() == null ? status.getCode().name() : status.getDescription();
    return new TokenwireException(message, status.getCode(), ErrorDetails.read(status, trailers), cause);
  }

  /**
   * The gRPC status.
   *
   * @return the code; never OK
   */
  public final Status.Code code() {
    return code;
  }

  /**
   * Why, to switch on.
   *
   * @return {@code ERROR_REASON_UNSPECIFIED} if the server gave no reason, {@code UNRECOGNIZED} for one that is newer
   *     than this client: {@link #reasonName()} tells it
   */
  public final ErrorReason reason() {
    return details().reason();
  }

  /**
   * Why, as the server said it.
   *
   * @return the name of an {@link ErrorReason} without its prefix ({@code QUEUE_FULL}); empty if the server gave none
   */
  public final String reasonName() {
    return details().reasonName();
  }

  /**
   * What breaks its rule; with {@code RATE_LIMITED}, the limits that are used up.
   *
   * @return all of them, unmodifiable; empty if the server named none
   */
  public final List<FieldViolation> violations() {
    return details().violations();
  }

  /**
   * When to try again.
   *
   * @return the delay that the server suggests, if it does
   */
  public final Optional<Duration> retryAfter() {
    return Optional.ofNullable(details().retryAfter());
  }

  /**
   * Machine-readable facts, such as {@code prompt_tokens}.
   *
   * @return unmodifiable; empty if the server gave none
   */
  public final Map<String, String> metadata() {
    return details().metadata();
  }

  private ErrorDetails details() {
    return details == null ? ErrorDetails.NONE : details; // null after a deserialization
  }
}
