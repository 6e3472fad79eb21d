package dev.tokenwire.client;

import io.grpc.ChannelCredentials;
import io.grpc.ManagedChannelBuilder;
import java.time.Duration;
import java.util.Objects;
import java.util.function.UnaryOperator;

/** Makes a {@link TokenwireClient}. */
public final class TokenwireClientBuilder {
  final String target;
  ChannelCredentials credentials = Transport.PLAIN_TEXT;
  String apiKey = "";
  Duration timeout = Duration.ofMinutes(10);
  boolean resume;
  boolean retries = true;
  UnaryOperator<ManagedChannelBuilder<?>> configurator = UnaryOperator.identity();

  TokenwireClientBuilder(String target) {
    this.target = Objects.requireNonNull(target);
  }

  /**
   * How the connection is secured; default: it is plain text.
   *
   * @param credentials such as {@code TlsChannelCredentials.create()}, which trusts the roots of the system
   * @return this
   */
  public TokenwireClientBuilder credentials(ChannelCredentials credentials) {
    this.credentials = Objects.requireNonNull(credentials);
    return this;
  }

  /**
   * The key, sent as {@code authorization: Bearer …} with every call; default: none.
   *
   * @param apiKey empty: none
   * @return this
   */
  public TokenwireClientBuilder apiKey(String apiKey) {
    this.apiKey = Objects.requireNonNull(apiKey);
    return this;
  }

  /**
   * Bounds every call that gives no other time; default: 10 minutes. It is the deadline of the call, which the server
   * reads, and bounds all calls of a stream that resumes together.
   *
   * @param timeout above 0; {@code ChronoUnit.FOREVER.getDuration()}: no limit
   * @return this
   */
  public TokenwireClientBuilder timeout(Duration timeout) {
    this.timeout = RequestOptions.positive(timeout);
    return this;
  }

  /**
   * Whether streams survive a lost connection, where they do not say otherwise; default: they do not. A completion then
   * goes on without a reader (ON_DISCONNECT_DETACH), and the stream is taken up after the last event that came, until
   * the completion is found to be gone, the server is not reached for a minute, or the time is over. Closing the stream
   * sends a CancelChatCompletion.
   *
   * @param resume whether they do
   * @return this
   */
  public TokenwireClientBuilder resume(boolean resume) {
    this.resume = resume;
    return this;
  }

  /**
   * Whether a call that got UNAVAILABLE is tried again; default: it is, up to four attempts in all, after 0.2 s and
   * more, or the delay that the server asks for, and only while nothing of the answer has come.
   *
   * @param retries whether it is
   * @return this
   */
  public TokenwireClientBuilder retries(boolean retries) {
    this.retries = retries;
    return this;
  }

  /**
   * Changes what is seldom changed, such as sizes of messages, keepalive, proxies or the load balancing policy.
   *
   * @param configurator gets gRPC's builder after all else has been set on it, and returns it
   * @return this
   */
  public TokenwireClientBuilder configureChannel(UnaryOperator<ManagedChannelBuilder<?>> configurator) {
    this.configurator = Objects.requireNonNull(configurator);
    return this;
  }

  /**
   * The client. It connects with its first call.
   *
   * @return a client to be closed
   */
  public TokenwireClient build() {
    return new TokenwireClient(this);
  }
}
