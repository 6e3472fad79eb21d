// How a client connects, and how a call is made. All of them are aggregates: C++20 has designated initializers for them.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "tokenwire/cancellation.h"

namespace tokenwire {

// A timeout that never is over.
inline constexpr std::chrono::milliseconds kNoTimeout = std::chrono::milliseconds::max();

// Texts in PEM form.
struct TlsOptions {
  // Whom to trust; empty: the roots of the system.
  std::string root_certificates;

  // The client's own certificate and its key, if the server asks for one. Both or none.
  std::string certificate_chain;
  std::string private_key;
};

struct ClientOptions {
  // Sent with every call, as `authorization: Bearer …`; empty: none.
  std::string api_key;

  // Absent: plain text.
  std::optional<TlsOptions> tls;

  // Of calls that give none.
  std::chrono::milliseconds timeout = std::chrono::minutes(10);

  // Whether streams that do not say resume: see `StreamOptions`.
  bool resume = false;

  // Whether gRPC tries a call again that got UNAVAILABLE while nothing of the answer had come: up to four attempts, with
  // exponential backoff or the delay that the server asks for.
  bool retries = true;

  // How calls are spread over the addresses of the target, such as `round_robin`, which then leaves out servers that do
  // not call themselves healthy; empty: gRPC's default, the first address that answers.
  std::string load_balancing_policy;

  // Largest message either way, in bytes.
  int max_message_bytes = 32 * 1024 * 1024;

  // While a call is open, a silent connection is probed this often; one that does not answer for the timeout is ended.
  std::chrono::milliseconds keepalive_interval = std::chrono::seconds(60);
  std::chrono::milliseconds keepalive_timeout = std::chrono::seconds(20);
};

struct CallOptions {
  // Absent: the client's. It is the deadline of the call, which the server reads.
  std::optional<std::chrono::milliseconds> timeout;

  Cancellation cancellation;
};

struct StreamOptions {
  // Absent: the client's. It bounds the whole stream, also one that is resumed.
  std::optional<std::chrono::milliseconds> timeout;

  // Whether the completion outlives a lost connection: the stream then goes on where it was. See `ChatStream`. Absent: as
  // the client says.
  std::optional<bool> resume;
};

}  // namespace tokenwire
