package dev.tokenwire.client;

import io.grpc.Status;

/**
 * A stream broke its grammar, or ended without its last event: a defect of the server, or of something between it and
 * the client. Its code is INTERNAL.
 */
public final class BrokenStreamException extends TokenwireException {
  private static final long serialVersionUID = 1L;

  BrokenStreamException(String message) {
    super(message, Status.Code.INTERNAL, ErrorDetails.NONE, null);
  }
}
