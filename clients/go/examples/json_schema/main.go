// An answer that is JSON of a schema.
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

const citySchema = `{"type": "object",
	"properties": {"name": {"type": "string", "maxLength": 20}, "people": {"type": "integer", "maximum": 99999999}},
	"required": ["name", "people"], "additionalProperties": false}`

type city struct {
	Name   string
	People int
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
	completion, err := client.Chat(ctx, &tokenwirev1.ChatCompletionRequest{
		Model:    "smollm2-135m-instruct",
		Messages: []*tokenwirev1.Message{tokenwire.User("Tell me about Paris.")},
		ResponseFormat: &tokenwirev1.ResponseFormat{Format: &tokenwirev1.ResponseFormat_JsonSchema{
			JsonSchema: &tokenwirev1.JsonSchemaFormat{Name: "city", Schema: citySchema},
		}},
		MaxCompletionTokens: proto.Int32(64),
	})
	if err != nil {
		return err
	}
	var found city
	if err := json.Unmarshal([]byte(completion.Choices[0].Content), &found); err != nil {
		return err
	}
	fmt.Printf("%s has %d people\n", found.Name, found.People)
	return nil
}
