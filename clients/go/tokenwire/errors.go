package tokenwire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// An Error is why a call failed.
//
// errors.Is takes a Reason: errors.Is(err, tokenwire.QueueFull). It also takes context.Canceled and
// context.DeadlineExceeded. status.Code and status.FromError know an Error as well.
type Error struct {
	// Code is the status of gRPC.
	Code codes.Code
	// Reason is stable; empty if the server gave none, as where it could not be reached. It may be one that this package
	// does not know.
	Reason Reason
	// Message is the server's, for people.
	Message string
	// Violations has every field that breaks its rule, or the limits that are used up.
	Violations []Violation
	// RetryAfter is when the server wants to be asked again; 0 if it does not say.
	RetryAfter time.Duration
	// Metadata has the facts of a reason: see ErrorReason in the contract.
	Metadata map[string]string

	status *status.Status
	cause  error
}

// A Violation is a field that breaks its rule: its path in the contract ("messages[0].role") and what is wrong with it;
// or a limit that is used up: whose and which ("key:alice/requests_per_minute").
type Violation struct {
	Field       string
	Description string
}

// Error has code, reason and message.
func (e *Error) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("tokenwire: %s: %s", e.Code, e.Message)
	}
	return fmt.Sprintf("tokenwire: %s (%s): %s", e.Code, string(e.Reason), e.Message)
}

// Is says whether the error has the Reason target, or is the end of a context. A missed deadline is DeadlineExceeded,
// whoever noticed it.
func (e *Error) Is(target error) bool {
	switch target {
	case context.Canceled:
		return e.Code == codes.Canceled && e.Reason == ""
	case context.DeadlineExceeded, DeadlineExceeded:
		return e.Code == codes.DeadlineExceeded
	}
	reason, isReason := target.(Reason)
	return isReason && reason != "" && reason == e.Reason
}

// Unwrap is the error of gRPC.
func (e *Error) Unwrap() error {
	return e.cause
}

// GRPCStatus is the status of gRPC with all its details.
func (e *Error) GRPCStatus() *status.Status {
	if e.status == nil {
		return status.New(e.Code, e.Message)
	}
	return e.status
}

// A BrokenStreamError is a stream that broke its grammar, or ended without its last event: a defect of the server, or of
// something between it and the client.
type BrokenStreamError struct {
	// Message says what is wrong.
	Message string
}

// Error has the message.
func (e *BrokenStreamError) Error() string {
	return "tokenwire: broken stream: " + e.Message
}

func broken(format string, values ...interface{}) error {
	return &BrokenStreamError{Message: fmt.Sprintf(format, values...)}
}

// AsError turns an error of a generated stub into an *Error. It leaves nil, io.EOF (the end of a stream) and what is
// this package's already as they are.
func AsError(err error) error {
	var known *Error
	var brokenStream *BrokenStreamError
	if err == nil || err == io.EOF || errors.As(err, &known) || errors.As(err, &brokenStream) {
		return err
	}
	return newError(err)
}

func newError(cause error) *Error {
	found, isStatus := status.FromError(cause)
	if !isStatus {
		found = status.FromContextError(cause)
	}
	result := &Error{Code: found.Code(), Message: found.Message(), status: found, cause: cause}
	if result.Message == "" {
		result.Message = result.Code.String()
	}
	// What does not parse, or is of a kind that this package does not know, is left out.
	for _, detail := range found.Details() {
		result.take(detail)
	}
	return result
}

// take notes one of the rich details.
func (e *Error) take(detail interface{}) {
	switch detail := detail.(type) {
	case *errdetails.ErrorInfo:
		e.Reason = Reason(detail.GetReason())
		e.Metadata = detail.GetMetadata()
	case *errdetails.RetryInfo:
		e.RetryAfter = detail.GetRetryDelay().AsDuration()
	case *errdetails.BadRequest:
		for _, violation := range detail.GetFieldViolations() {
			e.Violations = append(e.Violations, Violation{violation.GetField(), violation.GetDescription()})
		}
	case *errdetails.QuotaFailure:
		for _, violation := range detail.GetViolations() {
			e.Violations = append(e.Violations, Violation{violation.GetSubject(), violation.GetDescription()})
		}
	}
}
