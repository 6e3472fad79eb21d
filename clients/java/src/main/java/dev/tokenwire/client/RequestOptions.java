package dev.tokenwire.client;

import java.time.Duration;
import java.util.Optional;

/**
 * What one call does otherwise than the client it is made with. Immutable: {@code
 * RequestOptions.DEFAULT.withTimeout(Duration.ofSeconds(30))}.
 */
public final class RequestOptions {
  /** As the client says. */
  public static final RequestOptions DEFAULT = new RequestOptions(null, null);

  private final Duration timeout;
  private final Boolean resume;

  private RequestOptions(Duration timeout, Boolean resume) {
    this.timeout = timeout;
    this.resume = resume;
  }

  /**
   * Bounds the call: see {@link TokenwireClientBuilder#timeout}.
   *
   * @param timeout above 0
   * @return these options with it
   */
  public RequestOptions withTimeout(Duration timeout) {
    return new RequestOptions(positive(timeout), resume);
  }

  /**
   * Whether a stream survives a lost connection: see {@link TokenwireClientBuilder#resume}. Other calls do not look at
   * it.
   *
   * @param resume whether it does
   * @return these options with it
   */
  public RequestOptions withResume(boolean resume) {
    return new RequestOptions(timeout, resume);
  }

  /**
   * The time limit.
   *
   * @return empty: that of the client
   */
  public Optional<Duration> timeout() {
    return Optional.ofNullable(timeout);
  }

  /**
   * Whether a stream survives a lost connection.
   *
   * @return empty: as the client says
   */
  public Optional<Boolean> resume() {
    return Optional.ofNullable(resume);
  }

  static Duration positive(Duration timeout) {
    if (timeout.isNegative() || timeout.isZero()) {
      throw new IllegalArgumentException("a timeout of " + timeout + ": it must be above 0");
    }
    return timeout;
  }
}
