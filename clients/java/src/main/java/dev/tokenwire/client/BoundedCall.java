package dev.tokenwire.client;

import com.google.protobuf.MessageLite;
import io.grpc.ClientCall;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.Metadata;
import io.grpc.Status;

/**
 * A call whose request may not be larger than so many bytes: else it ends with RESOURCE_EXHAUSTED. gRPC's own bound
 * leaves a call that waits for its connection without an end.
 */
final class BoundedCall<Q, A> extends SimpleForwardingClientCall<Q, A> {
  private final int maxBytes;
  private volatile Status refusal;

  BoundedCall(ClientCall<Q, A> call, int maxBytes) {
    super(call);
    this.maxBytes = maxBytes;
  }

  @Override
  public void start(Listener<A> listener, Metadata headers) {
    super.start(new SimpleForwardingClientCallListener<A>(listener) {
      @Override
      public void onClose(Status status, Metadata trailers) {
        super.onClose(refusal == null ? status : refusal, trailers);
      }
    }, headers);
  }

  @Override
  public void sendMessage(Q message) {
    int numBytes = ((MessageLite) message).getSerializedSize();
    if (numBytes <= maxBytes) {
      super.sendMessage(message);
      return;
    }
    String description = "the request has %d bytes; at most %d are allowed".formatted(numBytes, maxBytes);
    refusal = Status.RESOURCE_EXHAUSTED.withDescription(description);
    cancel(description, null);
  }

  @Override
  public void halfClose() {
    if (refusal == null) {
      super.halfClose();
    }
  }
}
