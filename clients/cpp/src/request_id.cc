#include "request_id.h"

#include <cstddef>
#include <random>

namespace tokenwire {

std::string NewRequestId() {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string id = "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx";
  std::random_device random;
  for (char& place : id) {
    const std::size_t bits = random() & 0xF;
    if (place == 'x') {
      place = kDigits[bits];
    } else if (place == 'y') {
      place = kDigits[8 | (bits & 3)];  // The variant: binary 10.
    }
  }
  return id;
}

}  // namespace tokenwire
