// Package tokenwire is the Go client of Tokenwire: LLM chat over gRPC.
//
// It is a thin layer on the generated stubs of package tokenwirev1, whose messages are its requests and answers. What it
// adds: streams that are checked and carry the answer so far, typed errors, retries that are safe, streams that survive
// a lost connection.
//
//	client, err := tokenwire.NewClient("127.0.0.1:50051")
//	...
//	stream := client.Stream(ctx, &tokenwirev1.ChatCompletionRequest{
//		Model:    "smollm2-135m-instruct",
//		Messages: []*tokenwirev1.Message{tokenwire.User("Name three rivers.")},
//	})
//	defer stream.Close()
//	for stream.Next() {
//		fmt.Print(stream.Update().Text())
//	}
//	if err := stream.Err(); err != nil {
//		...
//	}
package tokenwire

// The stubs are committed, for Go users get them with the module.
//go:generate protoc -I ../../../proto --go_out=.. --go_opt=module=tokenwire.dev --go-grpc_out=.. --go-grpc_opt=module=tokenwire.dev tokenwire/v1/chat.proto tokenwire/v1/errors.proto tokenwire/v1/models.proto tokenwire/v1/operations.proto tokenwire/v1/tokens.proto
