//go:build go1.23

package tokenwire

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	tokenwirev1 "tokenwire.dev/gen/tokenwire/v1"
)

func TestAllHasEveryUpdateAndThenTheError(t *testing.T) {
	server := answering()
	server.err = status.Error(codes.Internal, "defect")
	var content string
	var failed *Error
	for update, err := range serve(t, server).Stream(context.Background(), &tokenwirev1.ChatCompletionRequest{}).All() {
		if err != nil && !errors.As(err, &failed) {
			t.Errorf("got %v, want an *Error", err)
		}
		content += update.Text()
	}
	if content != "Hello" || failed == nil || failed.Code != codes.Internal {
		t.Errorf("got %q and %v", content, failed)
	}
}

func TestLeavingTheLoopEndsTheCall(t *testing.T) {
	server := answering()
	for range serve(t, server).Stream(context.Background(), &tokenwirev1.ChatCompletionRequest{}).All() {
		break
	}
	server.expectLeft(t)
}
