// An answer as a whole.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"google.golang.org/protobuf/proto"

	tokenwirev1 "tokenwire.dev/gen/tokenwire/v1"
	"tokenwire.dev/tokenwire"
)

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
	models, err := client.Models(ctx)
	if err != nil {
		return err
	}
	for _, model := range models {
		fmt.Printf("%s: %d tokens of context\n", model.Id, model.ContextLength)
	}

	completion, err := client.Chat(ctx, &tokenwirev1.ChatCompletionRequest{
		Model:               "smollm2-135m-instruct",
		Messages:            []*tokenwirev1.Message{tokenwire.System("Be brief."), tokenwire.User("Name three rivers.")},
		Temperature:         proto.Float64(0.2),
		MaxCompletionTokens: proto.Int32(32),
	})
	if err != nil {
		return err
	}
	choice := completion.Choices[0]
	fmt.Println(choice.Content)
	fmt.Println(choice.FinishReason, completion.Usage.CompletionTokens, "tokens")
	return nil
}
