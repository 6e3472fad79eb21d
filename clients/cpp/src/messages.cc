#include "tokenwire/messages.h"

#include <utility>

namespace tokenwire {
namespace {

v1::Message Make(v1::Role role, std::string content) {
  v1::Message message;
  message.set_role(role);
  message.set_content(std::move(content));
  return message;
}

}  // namespace

v1::Message SystemMessage(std::string content) { return Make(v1::ROLE_SYSTEM, std::move(content)); }

v1::Message UserMessage(std::string content) { return Make(v1::ROLE_USER, std::move(content)); }

v1::Message AssistantMessage(const v1::Choice& choice) {
  v1::Message message;
  message.set_role(v1::ROLE_ASSISTANT);
  *message.mutable_tool_calls() = choice.tool_calls();
  if (!choice.content().empty() || choice.tool_calls().empty()) {
    message.set_content(choice.content());
  }
  if (!choice.reasoning().empty()) {
    message.set_reasoning(choice.reasoning());
  }
  return message;
}

v1::Message ToolMessage(std::string content, std::string tool_call_id) {
  v1::Message message = Make(v1::ROLE_TOOL, std::move(content));
  message.set_tool_call_id(std::move(tool_call_id));
  return message;
}

}  // namespace tokenwire
