#include "tokenwire/cancellation.h"

#include <mutex>
#include <set>

#include "cancellable_call.h"

namespace tokenwire {

struct Cancellation::State {
  std::mutex mutex;
  bool cancelled = false;
  std::set<grpc::ClientContext*> live;
};

Cancellation::Cancellation() : state_(std::make_shared<State>()) {}

void Cancellation::Cancel() const {
  const std::lock_guard lock(state_->mutex);
  state_->cancelled = true;
  for (grpc::ClientContext* context : state_->live) {
    context->TryCancel();
  }
}

CancellableCall::CancellableCall(const Cancellation& cancellation) : cancellation_(cancellation.state_) {
  const std::lock_guard lock(cancellation_->mutex);
  cancellation_->live.insert(&context_);
  if (cancellation_->cancelled) {
    context_.TryCancel();
  }
}

CancellableCall::~CancellableCall() {
  const std::lock_guard lock(cancellation_->mutex);
  cancellation_->live.erase(&context_);
}

}  // namespace tokenwire
