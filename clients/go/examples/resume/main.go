// A stream that outlives a lost connection: the client goes on where it was.
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
	client, err := tokenwire.NewClient(target, tokenwire.WithAutoResume())
	if err != nil {
		return err
	}
	defer client.Close()

	stream := client.Stream(ctx, &tokenwirev1.ChatCompletionRequest{
		Model:               "smollm2-135m-instruct",
		Messages:            []*tokenwirev1.Message{tokenwire.User("Tell me about the sea.")},
		MaxCompletionTokens: proto.Int32(64),
	})
	defer stream.Close() // Left early, the completion is cancelled.
	for stream.Next() {
		fmt.Print(stream.Update().Text())
	}
	if err := stream.Err(); err != nil {
		return err
	}
	fmt.Printf("\n%d tokens\n", stream.Completion().Usage.CompletionTokens)
	return nil
}
