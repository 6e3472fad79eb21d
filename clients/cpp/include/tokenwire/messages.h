// The messages of a conversation.
#pragma once

#include <string>

#include "tokenwire/v1/chat.pb.h"

namespace tokenwire {

v1::Message SystemMessage(std::string content);
v1::Message UserMessage(std::string content);

// What the model said: one of its answers, with the tool calls and the reasoning in it.
v1::Message AssistantMessage(const v1::Choice& choice);

// What the call of a tool gave: of the call with this id.
v1::Message ToolMessage(std::string content, std::string tool_call_id);

}  // namespace tokenwire
