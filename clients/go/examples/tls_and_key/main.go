// TLS and an API key: TOKENWIRE_CA names a PEM file with whom to trust, TOKENWIRE_API_KEY is the key.
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
	ca, err := os.ReadFile(os.Getenv("TOKENWIRE_CA"))
	if err != nil {
		return err
	}
	config, err := tokenwire.TLSFromPEM(ca, nil, nil)
	if err != nil {
		return err
	}
	key := os.Getenv("TOKENWIRE_API_KEY")
	client, err := tokenwire.NewClient(target, tokenwire.WithTLS(config), tokenwire.WithAPIKey(key))
	if err != nil {
		return err
	}
	defer client.Close()

	completion, err := client.Chat(ctx, &tokenwirev1.ChatCompletionRequest{
		Model:               "smollm2-135m-instruct",
		Messages:            []*tokenwirev1.Message{tokenwire.User("Name a river.")},
		MaxCompletionTokens: proto.Int32(32),
	})
	if err != nil {
		return err
	}
	fmt.Println(completion.Choices[0].Content)
	return nil
}
