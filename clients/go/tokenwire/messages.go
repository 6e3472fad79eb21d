package tokenwire

import (
	"google.golang.org/protobuf/proto"

	tokenwirev1 "tokenwire.dev/gen/tokenwire/v1"
)

// System makes a message with instructions to the model.
func System(content string) *tokenwirev1.Message {
	return message(tokenwirev1.Role_ROLE_SYSTEM, content)
}

// User makes a message of the user.
func User(content string) *tokenwirev1.Message {
	return message(tokenwirev1.Role_ROLE_USER, content)
}

// Assistant makes the message that goes on with a conversation after an answer of the model: its text, its reasoning and
// its tool calls.
func Assistant(answer *tokenwirev1.Choice) *tokenwirev1.Message {
	made := &tokenwirev1.Message{Role: tokenwirev1.Role_ROLE_ASSISTANT, ToolCalls: answer.GetToolCalls()}
	if answer.GetContent() != "" || len(made.ToolCalls) == 0 {
		made.Body = &tokenwirev1.Message_Content{Content: answer.GetContent()}
	}
	if answer.GetReasoning() != "" {
		made.Reasoning = proto.String(answer.GetReasoning())
	}
	return made
}

// ToolResult makes the message with what a tool call gave; callID is the Id of the call.
func ToolResult(callID, content string) *tokenwirev1.Message {
	made := message(tokenwirev1.Role_ROLE_TOOL, content)
	made.ToolCallId = proto.String(callID)
	return made
}

func message(role tokenwirev1.Role, content string) *tokenwirev1.Message {
	return &tokenwirev1.Message{Role: role, Body: &tokenwirev1.Message_Content{Content: content}}
}
