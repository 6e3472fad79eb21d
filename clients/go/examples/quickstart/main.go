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
	client, err := tokenwire.NewClient(target)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	stream := client.Stream(context.Background(), &tokenwirev1.ChatCompletionRequest{
		Model:               "smollm2-135m-instruct",
		Messages:            []*tokenwirev1.Message{tokenwire.User("Name three rivers.")},
		MaxCompletionTokens: proto.Int32(64),
	})
	for stream.Next() {
		fmt.Print(stream.Update().Text()) // what is new
	}
	if err := stream.Err(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(stream.Completion().GetUsage()) // the answer so far; here: the whole
}
