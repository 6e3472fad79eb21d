// What a failed call throws.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <grpcpp/support/status_code_enum.h>

#include "tokenwire/v1/errors.pb.h"

namespace grpc {
class Status;
}

namespace tokenwire {

// A field that breaks its rule: its path in the contract (`messages[0].role`) and what is wrong with it. Or a limit that
// is used up: whose and which (`key:alice/requests_per_minute`).
struct Violation {
  std::string field;
  std::string description;
};

// What the server tells of a failure beside its status.
struct ErrorDetails {
  // Name of the contract's `ErrorReason` without its prefix (`QUEUE_FULL`); empty if the server gave none.
  std::string reason;

  std::vector<Violation> violations;

  // After this time the server suggests to try again.
  std::optional<std::chrono::milliseconds> retry_after;

  // Machine-readable facts, such as `prompt_tokens`.
  std::map<std::string, std::string> metadata;
};

// A call failed. `what()` is the server's message.
class Error : public std::runtime_error {
 public:
  Error(grpc::StatusCode code, const std::string& message, ErrorDetails details = {});

  grpc::StatusCode code() const noexcept { return code_; }

  // As in `ErrorDetails`. A reason that is newer than this client is here, too.
  const std::string& reason() const noexcept { return details_->reason; }

  // The reason for a `switch`; ERROR_REASON_UNSPECIFIED for none, and for one that is newer than this client.
  v1::ErrorReason known_reason() const;

  // The fields that break their rules; of RATE_LIMITED the limits that are used up.
  const std::vector<Violation>& violations() const noexcept { return details_->violations; }

  std::optional<std::chrono::milliseconds> retry_after() const noexcept { return details_->retry_after; }

  const std::map<std::string, std::string>& metadata() const noexcept { return details_->metadata; }

 private:
  grpc::StatusCode code_;
  std::shared_ptr<const ErrorDetails> details_;  // Shared, for an exception may be copied and must not throw then.
};

// A stream broke its grammar, or ended without `completed`: a defect of the server, or of something on the way.
class BrokenStreamError : public Error {
 public:
  explicit BrokenStreamError(const std::string& message);
};

// Throws the `Error` of a call of a raw stub that failed.
void ThrowIfError(const grpc::Status& status);

}  // namespace tokenwire
