package dev.tokenwire.client;

import dev.tokenwire.v1.ChatCompletionEvent;
import io.grpc.ClientCall;
import io.grpc.Metadata;
import io.grpc.Status;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;

/** One call that streams events, read by one thread. Flow control: beside what is being read, one event is fetched. */
final class EventCall {
  private final ClientCall<?, ChatCompletionEvent> call;
  private final BlockingQueue<Arrival> arrived = new LinkedBlockingQueue<>();
  private Arrival end;

  private EventCall(ClientCall<?, ChatCompletionEvent> call) {
    this.call = call;
  }

  /** Sends the request. */
  static <T> EventCall start(ClientCall<T, ChatCompletionEvent> call, T request) {
    EventCall events = new EventCall(call);
    call.start(events.new Listener(), new Metadata());
    call.request(1);
    call.sendMessage(request);
    call.halfClose();
    return events;
  }

  /** Waits for the next event; null when the call has ended with OK. Throws how else it ended. */
  ChatCompletionEvent next() throws InterruptedException, TokenwireException {
    if (end == null) {
      Arrival next = arrived.take();
      if (next.event != null) {
        call.request(1);
        return next.event;
      }
      end = next;
    }
    if (end.status.isOk()) {
      return null;
    }
    throw TokenwireException.from(end.status, end.trailers, end.status.asRuntimeException(end.trailers));
  }

  /** Ends the call, if it has not ended. May be called by any thread; one that waits in {@link #next()} is woken. */
  void cancel() {
    call.cancel("the stream was closed", null);
  }

  /** An event, or how the call ended. */
  private record Arrival(ChatCompletionEvent event, Status status, Metadata trailers) {}

  private final class Listener extends ClientCall.Listener<ChatCompletionEvent> {
    @Override
    public void onMessage(ChatCompletionEvent event) {
      arrived.add(new Arrival(event, null, null));
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      arrived.add(new Arrival(null, status, trailers));
    }
  }
}
