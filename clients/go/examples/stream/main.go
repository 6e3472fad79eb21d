// An answer as it comes.
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
	stream := client.Stream(ctx, &tokenwirev1.ChatCompletionRequest{
		Model:               "smollm2-135m-instruct",
		Messages:            []*tokenwirev1.Message{tokenwire.User("Tell me about the sea.")},
		MaxCompletionTokens: proto.Int32(64),
	})
	defer stream.Close()
	for stream.Next() {
		update := stream.Update()
		if heartbeat := update.Heartbeat(); heartbeat != nil { // nothing new for a while
			fmt.Println("in the queue at", heartbeat.GetQueuePosition())
		}
		fmt.Print(update.Text())
	}
	if err := stream.Err(); err != nil {
		return err
	}
	fmt.Printf("\n%d tokens\n", stream.Completion().Usage.CompletionTokens)
	return nil
}
