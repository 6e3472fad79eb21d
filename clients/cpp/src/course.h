// The course of one streamed completion over one call or, where it resumes, over several; without any I/O.
#pragma once

#include <chrono>
#include <optional>
#include <random>
#include <variant>

#include <grpcpp/support/status.h>

#include "tokenwire/v1/chat.pb.h"

namespace tokenwire {

// What asks for a stream.
using StreamRequest = std::variant<v1::ChatCompletionRequest, v1::ResumeChatCompletionRequest>;

// What is asked next, and what is done when a call ends.
class Course {
 public:
  // `timeout` bounds all calls together. A chat request that `resumes` is changed: it detaches.
  Course(StreamRequest request, std::chrono::milliseconds timeout, bool resumes);

  // What to ask next.
  const StreamRequest& request() const { return request_; }

  // For the next call; `kNoTimeout`: no limit.
  std::chrono::milliseconds TimeLeft() const;

  // A call is made.
  void Begin() { is_over_ = !resumes_; }

  // An event has come.
  void Note(const v1::ChatCompletionEvent& event);

  // The stream has come to its end.
  void End() { is_over_ = true; }

  // The call failed: after how long to ask again. Throws the error where that is of no use.
  std::chrono::milliseconds ResumeAfter(const grpc::Status& status);

  // The stream is left: what to tell the server, or nothing where it knows.
  std::optional<v1::CancelChatCompletionRequest> Leave();

 private:
  using Clock = std::chrono::steady_clock;

  static constexpr std::chrono::milliseconds kFirstDelay{100};

  StreamRequest request_;
  const bool resumes_;
  bool can_resume_ = false;
  // The stream has not begun or is not resumed, and the server need not be told that it is left.
  bool is_over_ = true;
  std::optional<Clock::time_point> deadline_;
  v1::CancelChatCompletionRequest target_;
  std::optional<Clock::time_point> lost_;
  std::chrono::milliseconds next_delay_ = kFirstDelay;
  std::minstd_rand random_{std::random_device{}()};
};

}  // namespace tokenwire
