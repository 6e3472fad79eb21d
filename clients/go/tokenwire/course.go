package tokenwire

import (
	"math/rand"
	"time"

	"google.golang.org/grpc/codes"

	tokenwirev1 "tokenwire.dev/gen/tokenwire/v1"
)

const (
	firstResumeDelay = 100 * time.Millisecond
	maxResumeDelay   = 5 * time.Second

	// A server that is not reached for so long is given up: by default it keeps no completion for longer.
	maxOutage = time.Minute
)

// A course is that of one streamed completion over one call or, where it resumes, over several; without any I/O.
type course struct {
	chat *tokenwirev1.ChatCompletionRequest       // What to ask while rest is nil.
	rest *tokenwirev1.ResumeChatCompletionRequest // What to ask next.
	left *tokenwirev1.CancelChatCompletionRequest // What tells the server that the stream is left.

	resumes   bool
	canResume bool // The server has said so.
	isOver    bool // The stream is not resumed, and the server need not be told that it is left.
	numLosses int  // Since the last event.
	lostAt    time.Time

	checker *checker
	folder  *folder
}

// newCourse may change the request: one that resumes detaches.
func newCourse(request *tokenwirev1.ChatCompletionRequest, resumes bool) *course {
	if resumes {
		if request.ExecutionPolicy == nil {
			request.ExecutionPolicy = &tokenwirev1.ExecutionPolicy{}
		}
		request.ExecutionPolicy.OnDisconnect = tokenwirev1.OnDisconnect_ON_DISCONNECT_DETACH
	}
	return &course{
		chat: request,
		left: &tokenwirev1.CancelChatCompletionRequest{
			Target: &tokenwirev1.CancelChatCompletionRequest_RequestId{RequestId: request.RequestId},
		},
		resumes: resumes,
		isOver:  !resumes,
		checker: newChecker(),
		folder:  newFolder(),
	}
}

func resumedCourse(request *tokenwirev1.ResumeChatCompletionRequest, resumes bool) *course {
	checker := newChecker()
	if request.AfterSequence != nil {
		checker = newRestChecker(request.GetAfterSequence())
	}
	return &course{
		rest:      request,
		left:      cancelRequest(request.CompletionId),
		resumes:   resumes,
		canResume: resumes,
		isOver:    !resumes,
		checker:   checker,
		folder:    newFolder(),
	}
}

func cancelRequest(completionID string) *tokenwirev1.CancelChatCompletionRequest {
	return &tokenwirev1.CancelChatCompletionRequest{
		Target: &tokenwirev1.CancelChatCompletionRequest_CompletionId{CompletionId: completionID},
	}
}

// take takes the next event. The error is a *BrokenStreamError.
func (c *course) take(event *tokenwirev1.ChatCompletionEvent) error {
	if c.resumes {
		c.note(event)
	}
	if err := c.checker.check(event); err != nil {
		return err
	}
	c.folder.add(event)
	return nil
}

func (c *course) note(event *tokenwirev1.ChatCompletionEvent) {
	c.numLosses, c.lostAt = 0, time.Time{}
	if started := event.GetStarted(); started != nil {
		c.canResume = started.GetResumable()
		c.left = cancelRequest(started.GetId())
		c.rest = &tokenwirev1.ResumeChatCompletionRequest{CompletionId: started.GetId()}
	}
	if c.rest != nil {
		sequence := event.GetSequence()
		c.rest.AfterSequence = &sequence
	}
}

// end takes that the call ended with status OK. The error is a *BrokenStreamError.
func (c *course) end() error {
	if err := c.checker.end(); err != nil {
		return err
	}
	c.isOver = true
	return nil
}

// resumeAfter takes that the call failed, and says after which time to ask again, or that it is of no use.
func (c *course) resumeAfter(failed *Error) (delay time.Duration, again bool) {
	if c.isOver {
		return 0, false
	}
	endsOnlyTheStream := failed.Reason == "" || failed.Reason == SlowConsumer || failed.Reason == DeadlineExceeded
	if !c.canResume || !endsOnlyTheStream {
		c.isOver = true
		return 0, false
	}
	now := time.Now()
	if c.lostAt.IsZero() {
		c.lostAt = now
	}
	isLoss := failed.Reason == "" && (failed.Code == codes.Unavailable || failed.Code == codes.Canceled)
	if !isLoss || now.Sub(c.lostAt) > maxOutage {
		return 0, false
	}
	delay = maxResumeDelay
	if c.numLosses < 6 { // 0.1 s · 2⁶ is above the bound.
		delay = firstResumeDelay << c.numLosses
	}
	c.numLosses++
	return delay/2 + time.Duration(rand.Int63n(int64(delay/2))), true
}

// leave takes that nobody reads on, and says what to tell the server; nil where it knows.
func (c *course) leave() *tokenwirev1.CancelChatCompletionRequest {
	if c.isOver {
		return nil
	}
	c.isOver = true
	return c.left
}
