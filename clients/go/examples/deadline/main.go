// A deadline: the answer so far in time, or an error.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

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
	partial, err := chat(ctx, client, 1500*time.Millisecond, tokenwirev1.OnDeadline_ON_DEADLINE_RETURN_PARTIAL)
	if err != nil {
		return err
	}
	fmt.Println(partial.Choices[0].FinishReason, "after:", partial.Choices[0].Content)

	_, err = chat(ctx, client, 300*time.Millisecond, tokenwirev1.OnDeadline_ON_DEADLINE_FAIL)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Println("not done in time")
	case errors.Is(err, tokenwire.DeadlineUnattainable):
		fmt.Println("would not have begun in time: another server may do it")
	default:
		return fmt.Errorf("the deadline was not missed: %v", err)
	}
	return nil
}

// chat asks for more than can be generated in the time.
func chat(ctx context.Context, client *tokenwire.Client, timeout time.Duration, onDeadline tokenwirev1.OnDeadline) (*tokenwirev1.ChatCompletion, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return client.Chat(ctx, &tokenwirev1.ChatCompletionRequest{
		Model:           "smollm2-135m-instruct",
		Messages:        []*tokenwirev1.Message{tokenwire.User("Tell me a long story.")},
		IgnoreEos:       true,
		ExecutionPolicy: &tokenwirev1.ExecutionPolicy{OnDeadline: onDeadline},
	})
}
