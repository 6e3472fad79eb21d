package dev.tokenwire.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.QuotaFailure;
import com.google.rpc.RetryInfo;
import dev.tokenwire.v1.ErrorReason;
import io.grpc.Metadata;
import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.Map;

/** The rich details of a status. {@code retryAfter} is null where the server suggests none. */
record ErrorDetails(
    String reasonName, Map<String, String> metadata, Duration retryAfter, List<FieldViolation> violations) {
  static final ErrorDetails NONE = new ErrorDetails("", Map.of(), null, List.of());

  private static final Metadata.Key<byte[]> TRAILER =
      Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);

  /** What the trailers have. Details that do not parse, or do not belong to the status, are left out. */
  static ErrorDetails read(Status status, Metadata trailers) {
    byte[] packed = trailers == null ? null : trailers.get(TRAILER);
    if (packed == null) {
      return NONE;
    }
    ErrorDetails details = NONE;
    try {
      com.google.rpc.Status rich = com.google.rpc.Status.parseFrom(packed);
      if (rich.getCode() == status.getCode().value()) {
        for (Any detail : rich.getDetailsList()) {
          details = details.with(detail);
        }
      }
    } catch (InvalidProtocolBufferException malformed) {
      // The status counts; what was read so far is good.
    }
    return details;
  }

  ErrorReason reason() {
    if (reasonName.isEmpty()) {
      return ErrorReason.ERROR_REASON_UNSPECIFIED;
    }
    var known = ErrorReason.getDescriptor().findValueByName("ERROR_REASON_" + reasonName);
    return known == null ? ErrorReason.UNRECOGNIZED : ErrorReason.valueOf(known);
  }

  private ErrorDetails with(Any detail) throws InvalidProtocolBufferException {
    if (detail.is(ErrorInfo.class)) {
      ErrorInfo info = detail.unpack(ErrorInfo.class);
      return new ErrorDetails(info.getReason(), Map.copyOf(info.getMetadataMap()), retryAfter, violations);
    }
    if (detail.is(RetryInfo.class)) {
      var delay = detail.unpack(RetryInfo.class).getRetryDelay();
      Duration after = Duration.ofSeconds(delay.getSeconds(), delay.getNanos());
      return new ErrorDetails(reasonName, metadata, after, violations);
    }
    if (detail.is(BadRequest.class)) {
      var fields = detail.unpack(BadRequest.class).getFieldViolationsList().stream();
      return with(fields.map(field -> new FieldViolation(field.getField(), field.getDescription())).toList());
    }
    if (detail.is(QuotaFailure.class)) {
      var limits = detail.unpack(QuotaFailure.class).getViolationsList().stream();
      return with(limits.map(limit -> new FieldViolation(limit.getSubject(), limit.getDescription())).toList());
    }
    return this;
  }

  private ErrorDetails with(List<FieldViolation> found) {
    return new ErrorDetails(reasonName, metadata, retryAfter, found);
  }
}
