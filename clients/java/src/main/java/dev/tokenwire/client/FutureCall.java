package dev.tokenwire.client;

import io.grpc.ClientCall;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.StreamObserver;
import java.util.concurrent.CompletableFuture;

/** One unary call as a future. */
final class FutureCall<T> implements StreamObserver<T> {
  private final CompletableFuture<T> future = new CompletableFuture<>();
  private T answer;

  private FutureCall() {}

  /** Sends the request. When the future completes before the call does, the call is cancelled. */
  static <Q, T> CompletableFuture<T> start(ClientCall<Q, T> call, Q request) {
    FutureCall<T> observer = new FutureCall<>();
    ClientCalls.asyncUnaryCall(call, request, observer);
    observer.future.whenComplete((answer, failure) -> call.cancel("the future is complete", null));
    return observer.future;
  }

  @Override
  public void onNext(T message) {
    answer = message;
  }

  @Override
  public void onError(Throwable failure) {
    future.completeExceptionally(TokenwireException.from(failure));
  }

  @Override
  public void onCompleted() {
    future.complete(answer);
  }
}
