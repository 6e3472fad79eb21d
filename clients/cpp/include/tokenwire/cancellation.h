// A handle that cancels calls from another thread.
#pragma once

#include <memory>

namespace tokenwire {

// Given to calls in their options, it cancels them: they throw an `Error` with CANCELLED. Copies are the same handle.
// May be used by several threads.
class Cancellation {
 public:
  Cancellation();

  // Cancels the calls that are under way and those that are still to come. Returns at once.
  void Cancel() const;

 private:
  friend class CancellableCall;
  struct State;

  std::shared_ptr<State> state_;
};

}  // namespace tokenwire
