// The ids that make requests idempotent.
#pragma once

#include <string>

namespace tokenwire {

// A random UUID (RFC 9562, version 4).
std::string NewRequestId();

}  // namespace tokenwire
