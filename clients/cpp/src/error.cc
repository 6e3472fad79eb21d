// How errors are read out of a gRPC status and its rich details.

#include "tokenwire/error.h"

#include <utility>

#include <google/protobuf/any.pb.h>
#include <google/protobuf/duration.pb.h>
#include <grpcpp/support/status.h>

#include "status_details.pb.h"

namespace tokenwire {
namespace {

// Whether `packed` is a message of this kind that parses. What does not is left out: the status says enough.
template <typename Message>
bool Unpack(const google::protobuf::Any& packed, const char* name, Message& message) {
  const std::string& url = packed.type_url();
  return url.compare(url.rfind('/') + 1, std::string::npos, name) == 0 && message.ParseFromString(packed.value());
}

void Read(const google::protobuf::Any& packed, ErrorDetails& details) {
  status_details::ErrorInfo info;
  status_details::RetryInfo retry;
  status_details::BadRequest bad_request;
  status_details::QuotaFailure quota;
  if (Unpack(packed, "google.rpc.ErrorInfo", info)) {
    details.reason = info.reason();
    details.metadata.insert(info.metadata().begin(), info.metadata().end());
  } else if (Unpack(packed, "google.rpc.RetryInfo", retry)) {
    details.retry_after = std::chrono::seconds(retry.retry_delay().seconds()) +
                          std::chrono::milliseconds(retry.retry_delay().nanos() / 1'000'000);
  } else if (Unpack(packed, "google.rpc.BadRequest", bad_request)) {
    for (const auto& violation : bad_request.field_violations()) {
      details.violations.push_back({violation.field(), violation.description()});
    }
  } else if (Unpack(packed, "google.rpc.QuotaFailure", quota)) {
    for (const auto& violation : quota.violations()) {
      details.violations.push_back({violation.subject(), violation.description()});
    }
  }
}

// Details that do not parse, or are those of another status, are none.
ErrorDetails ReadDetails(const grpc::Status& status) {
  ErrorDetails details;
  status_details::Status rich;
  if (rich.ParseFromString(status.error_details()) && rich.code() == status.error_code()) {
    for (const auto& packed : rich.details()) {
      Read(packed, details);
    }
  }
  return details;
}

}  // namespace

Error::Error(grpc::StatusCode code, const std::string& message, ErrorDetails details)
    : std::runtime_error(message), code_(code), details_(std::make_shared<const ErrorDetails>(std::move(details))) {}

v1::ErrorReason Error::known_reason() const {
  v1::ErrorReason reason = v1::ERROR_REASON_UNSPECIFIED;
  v1::ErrorReason_Parse("ERROR_REASON_" + details_->reason, &reason);
  return reason;
}

BrokenStreamError::BrokenStreamError(const std::string& message) : Error(grpc::StatusCode::INTERNAL, message) {}

void ThrowIfError(const grpc::Status& status) {
  if (!status.ok()) {
    throw Error(status.error_code(), status.error_message(), ReadDetails(status));
  }
}

}  // namespace tokenwire
