#include "stream_folder.h"

namespace tokenwire {

void StreamFolder::Add(const v1::ChatCompletionEvent& event) {
  switch (event.event_case()) {
    case v1::ChatCompletionEvent::kStarted:
      return Start(event.started());
    case v1::ChatCompletionEvent::kPromptLogprobs:
      completion_.mutable_prompt_logprobs()->MergeFrom(event.prompt_logprobs().tokens());
      return;
    case v1::ChatCompletionEvent::kDelta:
      return Append(event.delta());
    case v1::ChatCompletionEvent::kFinished: {
      v1::Choice& choice = Choice(event.finished().index());
      choice.set_finish_reason(event.finished().finish_reason());
      choice.set_stop_match(event.finished().stop_match());
      return;
    }
    case v1::ChatCompletionEvent::kCompleted:
      *completion_.mutable_usage() = event.completed().usage();
      *completion_.mutable_timings() = event.completed().timings();
      return;
    default:
      return;
  }
}

void StreamFolder::Start(const v1::Started& started) {
  completion_.set_id(started.id());
  *completion_.mutable_created() = started.created();
  completion_.set_model(started.model());
  completion_.set_system_fingerprint(started.system_fingerprint());
  *completion_.mutable_parameters() = started.parameters();
  completion_.set_service_tier(started.service_tier());
  completion_.mutable_usage()->set_prompt_tokens(started.prompt_tokens());
  if (started.parameters().n() > 0) {
    Choice(started.parameters().n() - 1);
  }
}

void StreamFolder::Append(const v1::Delta& delta) {
  v1::Choice& choice = Choice(delta.index());
  choice.mutable_content()->append(delta.content());
  choice.mutable_reasoning()->append(delta.reasoning());
  choice.mutable_logprobs()->MergeFrom(delta.logprobs());
  for (const v1::ToolCallDelta& part : delta.tool_calls()) {
    while (choice.tool_calls_size() <= part.index()) {
      choice.add_tool_calls()->mutable_function();
    }
    v1::ToolCall& call = *choice.mutable_tool_calls(part.index());
    if (!part.id().empty()) {
      call.set_id(part.id());
      call.mutable_function()->set_name(part.name());
    }
    call.mutable_function()->mutable_arguments()->append(part.arguments());
  }
}

v1::Choice& StreamFolder::Choice(int index) {
  for (int next = completion_.choices_size(); next <= index; ++next) {
    completion_.add_choices()->set_index(next);
  }
  return *completion_.mutable_choices(index);
}

}  // namespace tokenwire
