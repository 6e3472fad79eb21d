// Leaving a stream: the server frees its place at once.
package main

import (
	"context"
	"errors"
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
	// Whoever has the context may cancel it, from any goroutine. Closing the stream does the same from within.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := client.Stream(ctx, &tokenwirev1.ChatCompletionRequest{
		Model:               "smollm2-135m-instruct",
		Messages:            []*tokenwirev1.Message{tokenwire.User("Tell me a long story.")},
		MaxCompletionTokens: proto.Int32(64),
	})
	defer stream.Close()
	for count := 1; stream.Next(); count++ {
		fmt.Print(stream.Update().Text())
		if count == 5 {
			cancel()
		}
	}
	if !errors.Is(stream.Err(), context.Canceled) {
		return fmt.Errorf("the stream was not cancelled: %v", stream.Err())
	}
	fmt.Println("\ncancelled after a few updates")
	return nil
}
