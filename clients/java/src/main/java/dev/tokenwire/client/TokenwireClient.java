package dev.tokenwire.client;

import dev.tokenwire.v1.CancelChatCompletionRequest;
import dev.tokenwire.v1.CancelChatCompletionResponse;
import dev.tokenwire.v1.ChatCompletion;
import dev.tokenwire.v1.ChatCompletionRequest;
import dev.tokenwire.v1.ChatServiceGrpc;
import dev.tokenwire.v1.GetChatCompletionRequest;
import dev.tokenwire.v1.ListModelsRequest;
import dev.tokenwire.v1.Model;
import dev.tokenwire.v1.ModelServiceGrpc;
import dev.tokenwire.v1.ResumeChatCompletionRequest;
import dev.tokenwire.v1.StoredChatCompletion;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;

/**
 * Calls a Tokenwire server over one channel. May be shared by threads; make one and keep it. Close it at the end.
 *
 * <p>Every call throws {@link TokenwireException} when it fails; its {@code code} and {@code reason} tell why. A call
 * that the server could not take (UNAVAILABLE) has then been tried up to four times, unless retries are off: a
 * completion has a {@code request_id}, so it is not generated twice. A blocking call whose thread is interrupted is
 * cancelled: it throws CANCELLED, and the thread keeps its interrupt status. A deadline or a cancellation of the {@link
 * Context} of gRPC that a call is made in holds for the call, too.
 */
public final class TokenwireClient implements AutoCloseable {
  /** Longest that somebody who leaves a stream waits for the server to be told. */
  private static final Duration CANCEL_TIMEOUT = Duration.ofSeconds(2);

  private final ManagedChannel transport;
  private final Channel channel;
  private final Duration timeout;
  private final boolean resume;
  private final Set<ChatStream> streams = ConcurrentHashMap.newKeySet();

  TokenwireClient(TokenwireClientBuilder builder) {
    transport = Transport.open(builder.target, builder.credentials, builder.retries, builder.configurator);
    channel = Transport.withCallDefaults(transport, builder.apiKey);
    timeout = builder.timeout;
    resume = builder.resume;
  }

  /**
   * A client of this server that says nothing else: plain text, no key.
   *
   * @param target any name that gRPC resolves ({@code 127.0.0.1:50051}, {@code dns:///tokenwire.example:443})
   * @return a client to be closed
   */
  public static TokenwireClient connect(String target) {
    return builder(target).build();
  }

  /**
   * Begins a client.
   *
   * @param target any name that gRPC resolves ({@code 127.0.0.1:50051}, {@code dns:///tokenwire.example:443})
   * @return what to set more on
   */
  public static TokenwireClientBuilder builder(String target) {
    return new TokenwireClientBuilder(target);
  }

  /**
   * The whole answer.
   *
   * @param request a chat; it gets a {@code request_id} if it has none
   * @return the answer
   */
  public ChatCompletion chat(ChatCompletionRequest request) {
    return chat(request, RequestOptions.DEFAULT);
  }

  /**
   * The whole answer.
   *
   * @param request a chat; it gets a {@code request_id} if it has none
   * @param options what this call does otherwise
   * @return the answer
   */
  public ChatCompletion chat(ChatCompletionRequest request, RequestOptions options) {
    return call(ChatServiceGrpc.getCreateChatCompletionMethod(), identified(request), options);
  }

  /**
   * The whole answer, later.
   *
   * @param request a chat; it gets a {@code request_id} if it has none
   * @return a future; cancelling it, or completing it in any way, cancels the call. It fails with a {@link
   *     TokenwireException}
   */
  public CompletableFuture<ChatCompletion> chatAsync(ChatCompletionRequest request) {
    return chatAsync(request, RequestOptions.DEFAULT);
  }

  /**
   * The whole answer, later.
   *
   * @param request a chat; it gets a {@code request_id} if it has none
   * @param options what this call does otherwise
   * @return a future; cancelling it, or completing it in any way, cancels the call. It fails with a {@link
   *     TokenwireException}
   */
  public CompletableFuture<ChatCompletion> chatAsync(ChatCompletionRequest request, RequestOptions options) {
    var call = channel.newCall(ChatServiceGrpc.getCreateChatCompletionMethod(), callOptions(deadline(options)));
    return FutureCall.start(call, identified(request));
  }

  /**
   * The answer as it comes.
   *
   * @param request a chat; it gets a {@code request_id} if it has none
   * @return a stream to be read and closed
   */
  public ChatStream stream(ChatCompletionRequest request) {
    return stream(request, RequestOptions.DEFAULT);
  }

  /**
   * The answer as it comes.
   *
   * @param request a chat; it gets a {@code request_id} if it has none
   * @param options what this call does otherwise
   * @return a stream to be read and closed
   */
  public ChatStream stream(ChatCompletionRequest request, RequestOptions options) {
    return open(new Course(identified(request), deadline(options), options.resume().orElse(resume)));
  }

  /**
   * The events of a live or retained completion after one of them, or from its start.
   *
   * @param request which completion, and after which event
   * @return a stream to be read and closed
   */
  public ChatStream resume(ResumeChatCompletionRequest request) {
    return resume(request, RequestOptions.DEFAULT);
  }

  /**
   * The events of a live or retained completion after one of them, or from its start.
   *
   * @param request which completion, and after which event
   * @param options what this call does otherwise
   * @return a stream to be read and closed
   */
  public ChatStream resume(ResumeChatCompletionRequest request, RequestOptions options) {
    return open(new Course(request, deadline(options), options.resume().orElse(resume)));
  }

  /**
   * A completion that was generated with {@code store}, or is live or retained, as far as it has come.
   *
   * @param request which completion
   * @return the completion, and its state
   */
  public StoredChatCompletion get(GetChatCompletionRequest request) {
    return get(request, RequestOptions.DEFAULT);
  }

  /**
   * A completion that was generated with {@code store}, or is live or retained, as far as it has come.
   *
   * @param request which completion
   * @param options what this call does otherwise
   * @return the completion, and its state
   */
  public StoredChatCompletion get(GetChatCompletionRequest request, RequestOptions options) {
    return call(ChatServiceGrpc.getGetChatCompletionMethod(), request, options);
  }

  /**
   * Ends a completion. Harmless if it has ended.
   *
   * @param request which completion, by its id or by that of its request
   * @return what has become of it
   */
  public CancelChatCompletionResponse cancel(CancelChatCompletionRequest request) {
    return cancel(request, RequestOptions.DEFAULT);
  }

  /**
   * Ends a completion. Harmless if it has ended.
   *
   * @param request which completion, by its id or by that of its request
   * @param options what this call does otherwise
   * @return what has become of it
   */
  public CancelChatCompletionResponse cancel(CancelChatCompletionRequest request, RequestOptions options) {
    return call(ChatServiceGrpc.getCancelChatCompletionMethod(), request, options);
  }

  /**
   * The served models.
   *
   * @return none while the model is loading
   */
  public List<Model> listModels() {
    return listModels(RequestOptions.DEFAULT);
  }

  /**
   * The served models.
   *
   * @param options what this call does otherwise
   * @return none while the model is loading
   */
  public List<Model> listModels(RequestOptions options) {
    var request = ListModelsRequest.getDefaultInstance();
    return call(ModelServiceGrpc.getListModelsMethod(), request, options).getModelsList();
  }

  /**
   * For the generated stubs of all services: {@code TokenServiceGrpc.newBlockingStub(client.channel())}. It sends the
   * client's key; the client's timeout is not for it. {@link TokenwireException#from(StatusRuntimeException)} reads
   * what the stubs throw.
   *
   * @return the channel; it is closed with the client
   */
  public Channel channel() {
    return channel;
  }

  /** Closes the channel. Live calls are cancelled, streams are closed. */
  @Override
  public void close() {
    streams.forEach(ChatStream::close);
    transport.shutdownNow();
  }

  private ChatStream open(Course course) {
    ChatStream stream = new ChatStream(course, this::start, this::tell, streams::remove);
    streams.add(stream);
    return stream;
  }

  private EventCall start(Course course) {
    CallOptions options = callOptions(course.deadline());
    if (course.rest().isPresent()) {
      var call = channel.newCall(ChatServiceGrpc.getResumeChatCompletionMethod(), options);
      return EventCall.start(call, course.rest().get());
    }
    return EventCall.start(channel.newCall(ChatServiceGrpc.getStreamChatCompletionMethod(), options), course.chat());
  }

  /** Cancels what nobody reads any more. Whatever comes of it: nobody is there to be told. */
  private void tell(CancelChatCompletionRequest request) {
    boolean wasInterrupted = Thread.interrupted(); // or the call would end before it began, as in a cancelled context
    try {
      RequestOptions options = RequestOptions.DEFAULT.withTimeout(CANCEL_TIMEOUT);
      Context.current().fork().run(() -> cancel(request, options));
    } catch (TokenwireException ignored) {
      return;
    } finally {
      if (wasInterrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  private <Q, A> A call(MethodDescriptor<Q, A> method, Q request, RequestOptions options) {
    try {
      return ClientCalls.blockingUnaryCall(channel, method, callOptions(deadline(options)), request);
    } catch (StatusRuntimeException failure) {
      throw TokenwireException.from(failure);
    }
  }

  private Deadline deadline(RequestOptions options) {
    long nanos = TimeUnit.NANOSECONDS.convert(options.timeout().orElse(timeout)); // unlike toNanos() it has no overflow
    return Deadline.after(nanos, TimeUnit.NANOSECONDS);
  }

  private static CallOptions callOptions(Deadline deadline) {
    return CallOptions.DEFAULT.withDeadline(deadline);
  }

  private static ChatCompletionRequest identified(ChatCompletionRequest request) {
    if (!request.getRequestId().isEmpty()) {
      return request;
    }
    return request.toBuilder().setRequestId(UUID.randomUUID().toString()).build();
  }
}
