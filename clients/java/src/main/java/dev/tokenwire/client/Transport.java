package dev.tokenwire.client;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ClientInterceptors;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.stub.MetadataUtils;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.UnaryOperator;

/** How a channel is opened: sizes, keepalive, retries, and what is sent with every call. */
final class Transport {
  static final ChannelCredentials PLAIN_TEXT = InsecureChannelCredentials.create();

  private static final int MAX_MESSAGE_BYTES = 32 * 1024 * 1024;
  private static final long KEEPALIVE_INTERVAL_S = 60;
  private static final long KEEPALIVE_TIMEOUT_S = 20;

  // The server says UNAVAILABLE before any work; gRPC says it of a connection that cannot be made or breaks, and tries
  // again only as long as nothing of the answer has come. The server may choose the delay (`grpc-retry-pushback-ms`).
  // A request that comes twice has one completion, for every one has an id. Numbers of a service config are doubles.
  private static final Map<String, ?> RETRY_POLICY = Map.of(
      "maxAttempts", 4.0,
      "initialBackoff", "0.2s",
      "maxBackoff", "5s",
      "backoffMultiplier", 2.0,
      "retryableStatusCodes", List.of("UNAVAILABLE"));

  // The health check is that of the server as a whole; only policies that balance look at it.
  private static final Map<String, ?> SERVICE_CONFIG = Map.of(
      "methodConfig", List.of(Map.of("name", List.of(Map.of()), "retryPolicy", RETRY_POLICY)),
      "healthCheckConfig", Map.of("serviceName", ""));

  private Transport() {}

  static ManagedChannel open(
      String target,
      ChannelCredentials credentials,
      boolean retries,
      UnaryOperator<ManagedChannelBuilder<?>> configurator) {
    ManagedChannelBuilder<?> builder = Grpc.newChannelBuilder(target, credentials)
        .maxInboundMessageSize(MAX_MESSAGE_BYTES)
        .keepAliveTime(KEEPALIVE_INTERVAL_S, TimeUnit.SECONDS)
        .keepAliveTimeout(KEEPALIVE_TIMEOUT_S, TimeUnit.SECONDS)
        .defaultServiceConfig(SERVICE_CONFIG)
        // What is kept of a request to send it again: without it, one over 1 MiB is never tried again.
        .perRpcBufferLimit(MAX_MESSAGE_BYTES)
        .retryBufferSize(2L * MAX_MESSAGE_BYTES);
    return configurator.apply(retries ? builder.enableRetry() : builder.disableRetry()).build();
  }

  /** The channel with the size of requests bounded, and the key sent where there is one. */
  static Channel withCallDefaults(Channel channel, String apiKey) {
    Channel bounded = ClientInterceptors.intercept(channel, new RequestBound());
    if (apiKey.isEmpty()) {
      return bounded;
    }
    Metadata headers = new Metadata();
    headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + apiKey);
    return ClientInterceptors.intercept(bounded, MetadataUtils.newAttachHeadersInterceptor(headers));
  }

  private static final class RequestBound implements ClientInterceptor {
    @Override
    public <Q, A> ClientCall<Q, A> interceptCall(MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
      return new BoundedCall<>(next.newCall(method, options), MAX_MESSAGE_BYTES);
    }
  }
}
