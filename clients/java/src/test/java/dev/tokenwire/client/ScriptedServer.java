package dev.tokenwire.client;

import dev.tokenwire.v1.CancelChatCompletionRequest;
import dev.tokenwire.v1.CancelChatCompletionResponse;
import dev.tokenwire.v1.ChatCompletion;
import dev.tokenwire.v1.ChatCompletionEvent;
import dev.tokenwire.v1.ChatCompletionRequest;
import dev.tokenwire.v1.ChatServiceGrpc;
import dev.tokenwire.v1.Delta;
import dev.tokenwire.v1.EffectiveParameters;
import dev.tokenwire.v1.Started;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Server;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;

/** A real server on a free port, whose answers never end: a stream says {@code started} and then as much as it may. */
final class ScriptedServer extends ChatServiceGrpc.ChatServiceImplBase implements AutoCloseable {
  /** A call that generates has come. */
  final CountDownLatch asked = new CountDownLatch(1);

  /** The client went away from it. */
  final CountDownLatch left = new CountDownLatch(1);

  /** There was no room for another event of a stream. */
  final CountDownLatch full = new CountDownLatch(1);

  final BlockingQueue<CancelChatCompletionRequest> cancels = new LinkedBlockingQueue<>();

  private final String text;
  private final int numDeltas;
  private final Server server;

  /** A stream has so many deltas of this text, and then stands still. */
  ScriptedServer(String text, int numDeltas) throws IOException {
    this.text = text;
    this.numDeltas = numDeltas;
    server = Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create()).addService(this).build().start();
  }

  String target() {
    return "127.0.0.1:" + server.getPort();
  }

  @Override
  public void close() {
    server.shutdownNow();
  }

  @Override
  public void createChatCompletion(ChatCompletionRequest request, StreamObserver<ChatCompletion> answer) {
    ((ServerCallStreamObserver<ChatCompletion>) answer).setOnCancelHandler(left::countDown);
    asked.countDown();
  }

  @Override
  public void streamChatCompletion(ChatCompletionRequest request, StreamObserver<ChatCompletionEvent> answer) {
    var events = (ServerCallStreamObserver<ChatCompletionEvent>) answer;
    events.setOnCancelHandler(left::countDown);
    events.setOnReadyHandler(new Runnable() {
      private int sequence = 1;

      @Override
      public void run() {
        while (events.isReady() && sequence <= numDeltas) {
          events.onNext(delta(sequence++));
        }
        if (sequence <= numDeltas) {
          full.countDown();
        }
      }
    });
    events.onNext(started());
    asked.countDown();
  }

  @Override
  public void cancelChatCompletion(
      CancelChatCompletionRequest request, StreamObserver<CancelChatCompletionResponse> answer) {
    cancels.add(request);
    answer.onNext(CancelChatCompletionResponse.getDefaultInstance());
    answer.onCompleted();
  }

  private ChatCompletionEvent delta(int sequence) {
    return ChatCompletionEvent.newBuilder()
        .setSequence(sequence).setDelta(Delta.newBuilder().setContent(text)).build();
  }

  private static ChatCompletionEvent started() {
    var parameters = EffectiveParameters.newBuilder().setN(1);
    var started = Started.newBuilder().setId("chatcmpl-1").setResumable(true).setParameters(parameters);
    return ChatCompletionEvent.newBuilder().setStarted(started).build();
  }
}
