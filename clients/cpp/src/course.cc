#include "course.h"

#include <algorithm>
#include <utility>

#include "tokenwire/error.h"
#include "tokenwire/options.h"

namespace tokenwire {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kMaxDelay{5000};

// A server that is not reached for so long is given up: by default it keeps no completion for longer.
constexpr std::chrono::seconds kMaxOutage{60};

bool IsConnectionLost(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE || status.error_code() == grpc::StatusCode::CANCELLED;
}

// Whether a reason of the server ends only the stream of a completion that detaches, and not the completion.
bool MayGoOn(const std::string& reason) { return reason == "SLOW_CONSUMER" || reason == "DEADLINE_EXCEEDED"; }

}  // namespace

Course::Course(StreamRequest request, milliseconds timeout, bool resumes)
    : request_(std::move(request)), resumes_(resumes) {
  if (timeout != kNoTimeout) {
    deadline_ = Clock::now() + timeout;
  }
  if (auto* chat = std::get_if<v1::ChatCompletionRequest>(&request_)) {
    target_.set_request_id(chat->request_id());
    if (resumes) {
      chat->mutable_execution_policy()->set_on_disconnect(v1::ON_DISCONNECT_DETACH);
    }
  } else {
    can_resume_ = resumes;
    target_.set_completion_id(std::get<v1::ResumeChatCompletionRequest>(request_).completion_id());
  }
}

milliseconds Course::TimeLeft() const {
  if (!deadline_) {
    return kNoTimeout;
  }
  return std::max(milliseconds::zero(), std::chrono::duration_cast<milliseconds>(*deadline_ - Clock::now()));
}

void Course::Note(const v1::ChatCompletionEvent& event) {
  if (!resumes_) {
    return;
  }
  lost_.reset();
  next_delay_ = kFirstDelay;
  if (event.has_started()) {
    can_resume_ = event.started().resumable();
    target_.set_completion_id(event.started().id());
    request_.emplace<v1::ResumeChatCompletionRequest>().set_completion_id(event.started().id());
  }
  if (auto* resume = std::get_if<v1::ResumeChatCompletionRequest>(&request_)) {
    resume->set_after_sequence(event.sequence());
  }
}

milliseconds Course::ResumeAfter(const grpc::Status& status) {
  try {
    ThrowIfError(status);
  } catch (const Error& error) {
    const std::string& reason = error.reason();
    if (is_over_ || !can_resume_ || (!reason.empty() && !MayGoOn(reason))) {
      is_over_ = true;
      throw;
    }
    const Clock::time_point now = Clock::now();
    lost_ = lost_.value_or(now);
    if (!reason.empty() || !IsConnectionLost(status) || now - *lost_ > kMaxOutage) {
      throw;
    }
  }
  const std::chrono::duration<double, std::milli> delay =
      next_delay_ * std::uniform_real_distribution<double>(0.5, 1.0)(random_);
  next_delay_ = std::min(next_delay_ * 2, kMaxDelay);
  return std::min(std::chrono::duration_cast<milliseconds>(delay), TimeLeft());
}

std::optional<v1::CancelChatCompletionRequest> Course::Leave() {
  if (is_over_) {
    return std::nullopt;
  }
  is_over_ = true;
  return target_;
}

}  // namespace tokenwire
