package dev.tokenwire.client;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import dev.tokenwire.v1.CancelChatCompletionRequest;
import dev.tokenwire.v1.ChatCompletion;
import dev.tokenwire.v1.ChatCompletionRequest;
import dev.tokenwire.v1.TokenServiceGrpc;
import dev.tokenwire.v1.TokenizeRequest;
import io.grpc.Context;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.time.temporal.ChronoUnit;
import java.util.Iterator;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.junit.After;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.Timeout;

/** What is Java's own; what all clients do alike, the conformance table has. */
public class TokenwireClientTest {
  private static final ChatCompletionRequest REQUEST = ChatCompletionRequest.newBuilder().setModel("m").build();
  private static final RequestOptions RESUMING = RequestOptions.DEFAULT.withResume(true);

  @Rule public final Timeout timeout = Timeout.seconds(30);

  private final ScriptedServer server = new ScriptedServer("x".repeat(64 * 1024), 1000);
  private final TokenwireClient client = TokenwireClient.connect(server.target());

  public TokenwireClientTest() throws IOException {}

  @After
  public void close() {
    client.close();
    server.close();
  }

  @Test
  public void anInterruptedReaderLeavesTheStreamAndStaysInterrupted() throws InterruptedException {
    try (ChatStream stream = client.stream(REQUEST, RESUMING)) {
      stream.iterator().next();
      Thread.currentThread().interrupt();
      assertEquals(Status.Code.CANCELLED, failureOfReading(stream).code());
      assertTrue(Thread.interrupted());
    }
    server.left.await();
    assertEquals(completion(), server.cancels.take());
  }

  @Test
  public void anInterruptedCallIsCancelled() throws InterruptedException {
    Thread caller = Thread.currentThread();
    CompletableFuture.runAsync(() -> {
      awaitQuietly(server.asked);
      caller.interrupt();
    });
    var failure = assertThrows(TokenwireException.class, () -> client.chat(REQUEST));
    assertEquals(Status.Code.CANCELLED, failure.code());
    assertTrue(Thread.interrupted());
    server.left.await();
  }

  @Test
  public void aTimeLimitMayBeForever() {
    RequestOptions forever = RequestOptions.DEFAULT.withTimeout(ChronoUnit.FOREVER.getDuration());
    try (ChatStream stream = client.stream(REQUEST, forever)) {
      assertTrue(stream.iterator().next().event().hasStarted());
    }
  }

  @Test
  public void aCancelledContextEndsAStreamThatWouldResumeAndCancelsTheCompletion() throws Exception {
    Context.CancellableContext context = Context.current().withCancellation();
    ChatStream stream = context.call(() -> client.stream(REQUEST, RESUMING));
    stream.iterator().next();
    context.cancel(null);
    assertEquals(Status.Code.CANCELLED, context.call(() -> failureOfReading(stream)).code());
    assertEquals(completion(), server.cancels.take());
  }

  @Test
  public void closingTheClientEndsAStreamThatIsRead() throws InterruptedException {
    ChatStream stream = client.stream(REQUEST, RESUMING);
    stream.iterator().next();
    client.close();
    assertEquals(Status.Code.CANCELLED, failureOfReading(stream).code());
    assertEquals(completion(), server.cancels.take());
  }

  @Test
  public void aStreamThatHasFailedFailsAgain() {
    ChatStream stream = client.stream(REQUEST);
    stream.close();
    assertEquals(failureOfReading(stream), failureOfReading(stream));
  }

  @Test
  public void aFutureThatTimesOutFreesTheCall() throws InterruptedException {
    CompletableFuture<ChatCompletion> answer = client.chatAsync(REQUEST);
    server.asked.await();
    var failure = assertThrows(CompletionException.class, answer.orTimeout(1, TimeUnit.MILLISECONDS)::join);
    assertEquals(TimeoutException.class, failure.getCause().getClass());
    server.left.await();
  }

  @Test
  public void aReaderThatDoesNotReadStopsTheServer() throws InterruptedException {
    try (ChatStream stream = client.stream(REQUEST)) {
      stream.iterator().next();
      server.full.await(); // before the 64 MB that it has
    }
  }

  @Test
  public void aLoopThatWasLeftGoesOnInTheNextOne() {
    try (ChatStream stream = client.stream(REQUEST)) {
      Iterator<Update> first = stream.iterator();
      assertTrue(first.next().event().hasStarted());
      Update next = stream.iterator().next();
      assertEquals(1, next.event().getSequence());
      assertEquals(next.text(), stream.completion().getChoices(0).getContent());
    }
  }

  @Test
  public void whatARawStubThrowsIsRead() {
    var stub = TokenServiceGrpc.newBlockingStub(client.channel());
    var failure = assertThrows(
        StatusRuntimeException.class, () -> stub.tokenize(TokenizeRequest.getDefaultInstance()));
    TokenwireException read = TokenwireException.from(failure);
    assertEquals(Status.Code.UNIMPLEMENTED, read.code());
    assertEquals(failure, read.getCause());
    assertTrue(read.reasonName().isEmpty());
  }

  @Test
  public void aRequestThatIsTooLargeIsRefused() {
    var request = REQUEST.toBuilder().setUser("x".repeat(33 * 1024 * 1024)).build();
    var failure = assertThrows(TokenwireException.class, () -> client.chat(request));
    assertEquals(Status.Code.RESOURCE_EXHAUSTED, failure.code());
    try (ChatStream stream = client.stream(request)) {
      assertEquals(Status.Code.RESOURCE_EXHAUSTED, failureOfReading(stream).code());
    }
    assertEquals(1, server.asked.getCount()); // none has come
  }

  @Test
  public void aTimeoutMustBeAboveZero() {
    var zero = java.time.Duration.ZERO;
    assertThrows(IllegalArgumentException.class, () -> RequestOptions.DEFAULT.withTimeout(zero));
    assertFalse(RequestOptions.DEFAULT.timeout().isPresent());
  }

  private static TokenwireException failureOfReading(ChatStream stream) {
    return assertThrows(TokenwireException.class, () -> stream.forEach(update -> { }));
  }

  private static CancelChatCompletionRequest completion() {
    return CancelChatCompletionRequest.newBuilder().setCompletionId("chatcmpl-1").build();
  }

  private static void awaitQuietly(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException interrupt) {
      Thread.currentThread().interrupt();
    }
  }
}
