#include "stream_checker.h"

#include "tokenwire/error.h"

namespace tokenwire {
namespace {

void CheckToolCall(int index, const v1::ToolCallDelta& part, std::optional<int>& num_calls) {
  const std::string call = "tool call " + std::to_string(part.index());
  if (!num_calls) {
    num_calls = part.id().empty() ? part.index() + 1 : part.index();
  }
  if (part.index() < 0 || (part.index() != *num_calls - 1 && part.index() != *num_calls)) {
    throw BrokenStreamError(call + " of choice " + std::to_string(index) + " is out of order");
  }
  const bool is_first = part.index() == *num_calls;
  if (part.id().empty() == is_first || part.name().empty() == is_first) {
    throw BrokenStreamError("id and name of " + call + " belong in its first part only");
  }
  *num_calls += is_first;
}

}  // namespace

StreamChecker::StreamChecker(std::optional<std::int64_t> after_sequence)
    : sequence_(after_sequence), is_rest_(after_sequence.has_value()), started_(is_rest_) {}

void StreamChecker::Check(const v1::ChatCompletionEvent& event) {
  if (completed_) {
    throw BrokenStreamError("an event after `completed`");
  }
  CheckSequence(event);
  switch (event.event_case()) {
    case v1::ChatCompletionEvent::kStarted:
      return CheckStarted(event.started());
    case v1::ChatCompletionEvent::kPromptLogprobs:
      return CheckPromptLogprobs();
    case v1::ChatCompletionEvent::kDelta:
      return CheckDelta(event.delta());
    case v1::ChatCompletionEvent::kFinished:
      return CheckFinished(event.finished());
    case v1::ChatCompletionEvent::kCompleted:
      return CheckCompleted();
    default:
      return;
  }
}

void StreamChecker::End() const {
  if (!completed_) {
    throw BrokenStreamError("the stream ended OK without `completed`");
  }
}

void StreamChecker::CheckSequence(const v1::ChatCompletionEvent& event) {
  const std::string before = sequence_ ? std::to_string(*sequence_) : "none";
  if (event.has_heartbeat()) {
    if (sequence_ != event.sequence()) {
      throw BrokenStreamError("a heartbeat of sequence " + std::to_string(event.sequence()) + " after " + before);
    }
    return;
  }
  if (sequence_ && event.sequence() <= *sequence_) {
    throw BrokenStreamError("sequence " + std::to_string(event.sequence()) + " after " + before);
  }
  sequence_ = event.sequence();
}

void StreamChecker::CheckStarted(const v1::Started& started) {
  if (started_) {
    throw BrokenStreamError("a second `started`");
  }
  started_ = true;
  for (int index = 0; index < started.parameters().n(); ++index) {
    open_choices_[index].num_calls = 0;
  }
}

void StreamChecker::CheckPromptLogprobs() const {
  RequireStarted("prompt_logprobs");
  if (answering_) {
    throw BrokenStreamError("`prompt_logprobs` after an answer began");
  }
}

void StreamChecker::CheckDelta(const v1::Delta& delta) {
  OpenChoice& choice = Open(delta.index(), "delta");
  answering_ = true;
  if (!delta.reasoning().empty() && choice.has_content) {
    throw BrokenStreamError("reasoning after the content of choice " + std::to_string(delta.index()));
  }
  choice.has_content |= !delta.content().empty();
  for (const v1::ToolCallDelta& part : delta.tool_calls()) {
    CheckToolCall(delta.index(), part, choice.num_calls);
  }
}

void StreamChecker::CheckFinished(const v1::Finished& finished) {
  Open(finished.index(), "finished");
  open_choices_.erase(finished.index());
  finished_.insert(finished.index());
  answering_ = true;
  if (finished.finish_reason() == v1::FINISH_REASON_UNSPECIFIED) {
    throw BrokenStreamError("choice " + std::to_string(finished.index()) + " finished without a reason");
  }
}

void StreamChecker::CheckCompleted() {
  RequireStarted("completed");
  if (!open_choices_.empty()) {
    throw BrokenStreamError("`completed` while choice " + std::to_string(open_choices_.begin()->first) + " is open");
  }
  completed_ = true;
}

StreamChecker::OpenChoice& StreamChecker::Open(int index, const std::string& kind) {
  RequireStarted(kind);
  if (is_rest_ && index >= 0 && finished_.count(index) == 0) {
    return open_choices_[index];
  }
  const auto found = open_choices_.find(index);
  if (found == open_choices_.end()) {
    throw BrokenStreamError("`" + kind + "` for choice " + std::to_string(index) +
                            ", which is finished or was never asked");
  }
  return found->second;
}

void StreamChecker::RequireStarted(const std::string& kind) const {
  if (!started_) {
    throw BrokenStreamError("`" + kind + "` before `started`");
  }
}

}  // namespace tokenwire
