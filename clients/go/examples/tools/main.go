// A whole round with a tool: the model calls it, its result goes back, the model answers.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"google.golang.org/protobuf/proto"

	tokenwirev1 "tokenwire.dev/gen/tokenwire/v1"
	"tokenwire.dev/tokenwire"
)

const model = "smollm2-135m-instruct"

var getWeather = &tokenwirev1.FunctionDefinition{
	Name:        "get_weather",
	Description: "The weather in a city now",
	Parameters: `{"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}},
		"required": ["city"], "additionalProperties": false}`,
}

func main() {
	target := append(os.Args[1:], "127.0.0.1:50051")[0]
	if err := run(context.Background(), target); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, target string) error {
	client, err := tokenwire.NewClient(target)
	if err != nil {
		return err
	}
	defer client.Close()
	messages := []*tokenwirev1.Message{tokenwire.User("What is the weather in Paris?")}
	asked, err := client.Chat(ctx, &tokenwirev1.ChatCompletionRequest{
		Model:               model,
		Messages:            messages,
		Tools:               []*tokenwirev1.Tool{{Function: getWeather}},
		ToolChoice:          required(),
		ParallelToolCalls:   proto.Bool(false),
		MaxCompletionTokens: proto.Int32(64),
	})
	if err != nil {
		return err
	}
	messages = append(messages, tokenwire.Assistant(asked.Choices[0]))
	for _, call := range asked.Choices[0].ToolCalls {
		fmt.Printf("%s(%s)\n", call.Function.Name, call.Function.Arguments)
		weather, err := weatherIn(call.Function.Arguments)
		if err != nil {
			return err
		}
		messages = append(messages, tokenwire.ToolResult(call.Id, weather))
	}

	answer, err := client.Chat(ctx, &tokenwirev1.ChatCompletionRequest{
		Model:               model,
		Messages:            messages,
		MaxCompletionTokens: proto.Int32(48),
	})
	if err != nil {
		return err
	}
	fmt.Println(answer.Choices[0].Content)
	return nil
}

// required says that the model must call a tool.
func required() *tokenwirev1.ToolChoice {
	return &tokenwirev1.ToolChoice{
		Choice: &tokenwirev1.ToolChoice_Mode{Mode: tokenwirev1.ToolChoiceMode_TOOL_CHOICE_MODE_REQUIRED},
	}
}

func weatherIn(arguments string) (string, error) {
	var place struct{ City string }
	if err := json.Unmarshal([]byte(arguments), &place); err != nil {
		return "", err
	}
	return place.City + ": 21 °C, sunny", nil
}
