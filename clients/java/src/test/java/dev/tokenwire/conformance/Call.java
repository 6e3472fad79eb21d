package dev.tokenwire.conformance;

import com.google.protobuf.Duration;
import dev.tokenwire.client.BrokenStreamException;
import dev.tokenwire.client.ChatStream;
import dev.tokenwire.client.RequestOptions;
import dev.tokenwire.client.TokenwireClient;
import dev.tokenwire.client.TokenwireException;
import dev.tokenwire.client.Update;
import io.grpc.TlsChannelCredentials;
import java.io.IOException;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/** One command, with a client of its own. */
final class Call {
  private static final ScheduledExecutorService TIMER = Executors.newSingleThreadScheduledExecutor(Call::daemon);

  private final Command command;
  private final Result.Builder result = Result.newBuilder();

  Call(Command command) {
    this.command = command;
  }

  Result run() throws IOException {
    try (TokenwireClient client = connect()) {
      call(client);
    } catch (TokenwireException failure) {
      result.setError(error(failure));
    }
    return result.build();
  }

  private void call(TokenwireClient client) {
    RequestOptions options = options();
    switch (command.getCallCase()) {
      case CREATE -> await(client.chatAsync(command.getCreate(), options));
      case STREAM -> read(client.stream(command.getStream(), options));
      case RESUME -> read(client.resume(command.getResume(), options));
      case GET -> interrupted(() -> result.setStored(client.get(command.getGet(), options)));
      case CANCEL -> interrupted(() -> result.setCancelled(client.cancel(command.getCancel(), options)));
      case LIST_MODELS -> interrupted(() -> result.addAllModels(client.listModels(options)));
      case CALL_NOT_SET -> throw new IllegalArgumentException("a command without a call");
    }
  }

  /** Cancels the future when it is time. */
  private void await(CompletableFuture<dev.tokenwire.v1.ChatCompletion> answer) {
    inTime(() -> answer.cancel(true));
    try {
      result.setCompletion(answer.join());
    } catch (CancellationException cancelled) {
      result.setError(Error.newBuilder().setCode(io.grpc.Status.Code.CANCELLED.value()).setMessage("cancelled"));
    } catch (CompletionException failed) {
      throw (TokenwireException) failed.getCause();
    }
  }

  /** Closes the stream when it is time. */
  private void read(ChatStream updates) {
    StringBuilder text = new StringBuilder();
    try (ChatStream stream = updates) {
      inTime(stream::close);
      for (Update update : stream) {
        result.addEvents(update.event());
        text.append(update.text());
        if (command.hasLeaveAfterEvents() && result.getEventsCount() == command.getLeaveAfterEvents()) {
          break;
        }
      }
    } finally {
      result.setText(text.toString()).setCompletion(updates.completion());
    }
  }

  /** Interrupts this thread when it is time. */
  private void interrupted(Runnable call) {
    Future<?> interrupt = inTime(Thread.currentThread()::interrupt);
    try {
      call.run();
    } finally {
      interrupt.cancel(false);
      Thread.interrupted();
    }
  }

  private Future<?> inTime(Runnable cancel) {
    if (!command.hasCancelAfter()) {
      return CompletableFuture.completedFuture(null);
    }
    return TIMER.schedule(cancel, nanos(command.getCancelAfter()), TimeUnit.NANOSECONDS);
  }

  private TokenwireClient connect() throws IOException {
    Connection connection = command.getConnection();
    var builder = TokenwireClient.builder(connection.getTarget()).apiKey(connection.getApiKey());
    if (!connection.getCaPem().isEmpty()) {
      var tls = TlsChannelCredentials.newBuilder().trustManager(connection.getCaPem().newInput());
      if (!connection.getCertPem().isEmpty()) {
        tls.keyManager(connection.getCertPem().newInput(), connection.getKeyPem().newInput());
      }
      builder.credentials(tls.build());
    }
    return builder.build();
  }

  private RequestOptions options() {
    RequestOptions options = RequestOptions.DEFAULT.withResume(command.getAutoResume());
    if (!command.hasTimeout()) {
      return options;
    }
    return options.withTimeout(java.time.Duration.ofNanos(nanos(command.getTimeout())));
  }

  private static Error error(TokenwireException failure) {
    Error.Builder error = Error.newBuilder()
        .setIsBrokenStream(failure instanceof BrokenStreamException)
        .setCode(failure.code().value())
        .setReason(failure.reasonName())
        .setMessage(failure.getMessage())
        .putAllMetadata(failure.metadata());
    failure.violations().forEach(violation ->
        error.addViolationsBuilder().setField(violation.field()).setDescription(violation.description()));
    failure.retryAfter().ifPresent(after ->
        error.setRetryAfter(Duration.newBuilder().setSeconds(after.getSeconds()).setNanos(after.getNano())));
    return error.build();
  }

  private static long nanos(Duration duration) {
    return TimeUnit.SECONDS.toNanos(duration.getSeconds()) + duration.getNanos();
  }

  private static Thread daemon(Runnable work) {
    Thread thread = new Thread(work, "timer");
    thread.setDaemon(true);
    return thread;
  }
}
