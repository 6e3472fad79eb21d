//go:build go1.23

package tokenwire

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	tokenwirev1 "tokenwire.dev/gen/tokenwire/v1"
)

// The iterators are called as a range would call them, for CI runs these tests with a Go that has no such range.

func TestAllHasEveryUpdateAndThenTheError(t *testing.T) {
	server := answering()
	server.err = status.Error(codes.Internal, "defect")
	stream := serve(t, server).Stream(context.Background(), &tokenwirev1.ChatCompletionRequest{})
	var content string
	var failed error
	stream.All()(func(update Update, err error) bool {
		content += update.Text()
		failed = err
		return true
	})
	if content != "Hello" || status.Code(failed) != codes.Internal {
		t.Errorf("got %q and %v", content, failed)
	}
}

func TestLeavingTheLoopEndsTheCall(t *testing.T) {
	server := answering()
	stream := serve(t, server).Stream(context.Background(), &tokenwirev1.ChatCompletionRequest{})
	count := 0
	stream.All()(func(Update, error) bool {
		count++
		return false
	})
	server.expectLeft(t)
	if count != 1 {
		t.Errorf("the loop was left after %d updates", count)
	}
}
