package tokenwire

import (
	"context"
	"io"
	"time"

	"google.golang.org/grpc/connectivity"

	tokenwirev1 "tokenwire.dev/gen/tokenwire/v1"
)

// cancelTimeout is the longest that somebody who leaves a stream waits for the server to be told.
const cancelTimeout = 2 * time.Second

// A Stream is a completion that is being generated. Read it like a bufio.Scanner: Next, Update, and at the end Err; with
// Go 1.23 or newer, range over All. Every event is checked against the grammar of streams.
//
// A stream belongs to one goroutine. To end it from another, cancel its context.
type Stream struct {
	client *Client
	course *course

	caller context.Context
	ctx    context.Context // of all calls, with the deadline
	cancel context.CancelFunc

	call     eventReader
	update   Update
	err      error
	hasEnded bool
}

// eventReader is a call of StreamChatCompletion or ResumeChatCompletion.
type eventReader interface {
	Recv() (*tokenwirev1.ChatCompletionEvent, error)
}

// An Update is one event of a stream.
type Update struct {
	// Event is what is new.
	Event *tokenwirev1.ChatCompletionEvent

	folder *folder
}

// Text is the new text; empty for an event that has none. Where n > 1, Event.GetDelta().Index says whose it is. Parts of
// tool calls are in Event.GetDelta().ToolCalls, the calls so far in Completion.
func (u Update) Text() string {
	return u.Event.GetDelta().GetContent()
}

// Reasoning is the new reasoning, which comes before any text; empty for an event that has none.
func (u Update) Reasoning() string {
	return u.Event.GetDelta().GetReasoning()
}

// Heartbeat says, while nothing new comes, where the completion is; nil for any other event.
func (u Update) Heartbeat() *tokenwirev1.Heartbeat {
	return u.Event.GetHeartbeat()
}

// Completion is the answer so far; after the last update, the whole answer. It is live: it grows with the stream.
func (u Update) Completion() *tokenwirev1.ChatCompletion {
	if u.folder == nil {
		return nil
	}
	return u.folder.completion
}

func (c *Client) open(ctx context.Context, course *course) *Stream {
	stream := &Stream{client: c, course: course, caller: ctx}
	stream.ctx, stream.cancel = c.bounded(ctx)
	stream.ask()
	return stream
}

// Next waits for the next event. It is false when the stream has ended: then Err says why, and nothing is left to close.
func (s *Stream) Next() bool {
	for !s.hasEnded {
		event, err := s.call.Recv()
		switch {
		case err == nil:
			if err = s.course.take(event); err == nil {
				s.update = Update{Event: event, folder: s.course.folder}
				return true
			}
			s.end(err)
		case err == io.EOF:
			s.end(s.course.end())
		default:
			s.goOn(newError(err))
		}
	}
	return false
}

// Update is the event that Next has waited for. After the end of the stream it is the last one.
func (s *Stream) Update() Update {
	return s.update
}

// Completion is the answer so far; after the end of the stream, the whole answer or what there was of it. It is live: it
// grows with the stream.
func (s *Stream) Completion() *tokenwirev1.ChatCompletion {
	return s.course.folder.completion
}

// Err is why the stream ended: nil after its last event, and after Close.
func (s *Stream) Err() error {
	return s.err
}

// Close leaves the stream, wherever it is: the call ends at once. The server frees its place; where the stream resumes, it
// is told so, which takes up to two seconds if it cannot be reached. Closing a stream that has ended does nothing.
func (s *Stream) Close() {
	if !s.hasEnded {
		s.end(nil)
	}
}

// ask makes the next call. A call that cannot be made is one that fails.
func (s *Stream) ask() {
	var err error
	if rest := s.course.rest; rest != nil {
		s.call, err = s.client.chat.ResumeChatCompletion(s.ctx, rest)
	} else {
		s.call, err = s.client.chat.StreamChatCompletion(s.ctx, s.course.chat)
	}
	if err != nil {
		s.call = failedCall{err}
	}
}

type failedCall struct{ err error }

func (f failedCall) Recv() (*tokenwirev1.ChatCompletionEvent, error) {
	return nil, f.err
}

// goOn asks again after a call that failed, or ends the stream.
func (s *Stream) goOn(failed *Error) {
	if s.ctx.Err() != nil || s.client.conn.GetState() == connectivity.Shutdown {
		s.end(failed)
		return
	}
	delay, again := s.course.resumeAfter(failed)
	if !again {
		s.end(failed)
		return
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		s.ask()
	case <-s.ctx.Done():
		s.end(newError(s.ctx.Err()))
	}
}

func (s *Stream) end(err error) {
	s.hasEnded, s.err = true, err
	s.cancel()
	target := s.course.leave()
	if target == nil {
		return
	}
	ctx, cancel := context.WithTimeout(endless{s.caller}, cancelTimeout)
	defer cancel()
	// Whatever comes of it, nobody is there to be told.
	_, _ = s.client.chat.CancelChatCompletion(ctx, target)
}

// endless has the values of a context, such as metadata, and not its end.
type endless struct{ context.Context }

func (endless) Deadline() (time.Time, bool) { return time.Time{}, false }
func (endless) Done() <-chan struct{}       { return nil }
func (endless) Err() error                  { return nil }
