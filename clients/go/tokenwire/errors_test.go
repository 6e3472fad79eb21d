package tokenwire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func queueFull(t *testing.T) error {
	t.Helper()
	refused, err := status.New(codes.Unavailable, "1024 wait").WithDetails(&errdetails.ErrorInfo{Reason: "QUEUE_FULL"})
	if err != nil {
		t.Fatal(err)
	}
	return AsError(refused.Err())
}

func TestAnErrorIsFoundByItsReason(t *testing.T) {
	wrapped := fmt.Errorf("asking: %w", queueFull(t))
	if !errors.Is(wrapped, QueueFull) {
		t.Errorf("%v is not %v", wrapped, QueueFull)
	}
	if errors.Is(wrapped, QueueTimeout) || errors.Is(wrapped, Reason("")) {
		t.Errorf("%v has another reason, too", wrapped)
	}
	var found *Error
	if !errors.As(wrapped, &found) || found.Message != "1024 wait" {
		t.Errorf("%v has no *Error with the message", wrapped)
	}
}

func TestGRPCKnowsTheStatusOfAnError(t *testing.T) {
	for _, err := range []error{queueFull(t), &Error{Code: codes.Unavailable}} {
		if code := status.Code(err); code != codes.Unavailable {
			t.Errorf("got %v, want %v", code, codes.Unavailable)
		}
	}
}

func TestTheEndOfAContextIsFoundByTheErrorOfTheContext(t *testing.T) {
	for code, end := range map[codes.Code]error{
		codes.Canceled:         context.Canceled,
		codes.DeadlineExceeded: context.DeadlineExceeded,
	} {
		for _, err := range []error{status.Error(code, "over"), end} {
			if !errors.Is(AsError(err), end) {
				t.Errorf("%v is not %v", err, end)
			}
		}
		if errors.Is(queueFull(t), end) {
			t.Errorf("a refusal is %v", end)
		}
	}
}

func TestAMissedDeadlineIsOneWhoeverNoticedIt(t *testing.T) {
	err := AsError(context.DeadlineExceeded)
	if !errors.Is(err, DeadlineExceeded) || errors.Is(AsError(context.Canceled), DeadlineExceeded) {
		t.Errorf("%v is not %v", err, DeadlineExceeded)
	}
}

func TestAsErrorLeavesWhatNeedsNoChange(t *testing.T) {
	for _, err := range []error{nil, io.EOF, queueFull(t), broken("order")} {
		if got := AsError(err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}
