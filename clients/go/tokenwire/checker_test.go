package tokenwire

import (
	"errors"
	"strings"
	"testing"

	tokenwirev1 "tokenwire.dev/gen/tokenwire/v1"
)

type events = []*tokenwirev1.ChatCompletionEvent

func started(n int32) *tokenwirev1.ChatCompletionEvent {
	parameters := &tokenwirev1.EffectiveParameters{N: n}
	return &tokenwirev1.ChatCompletionEvent{Event: &tokenwirev1.ChatCompletionEvent_Started{
		Started: &tokenwirev1.Started{Id: "chatcmpl-1", Parameters: parameters},
	}}
}

func delta(delta *tokenwirev1.Delta) *tokenwirev1.ChatCompletionEvent {
	return &tokenwirev1.ChatCompletionEvent{Event: &tokenwirev1.ChatCompletionEvent_Delta{Delta: delta}}
}

func text(content string) *tokenwirev1.ChatCompletionEvent {
	return delta(&tokenwirev1.Delta{Content: content})
}

func call(parts ...*tokenwirev1.ToolCallDelta) *tokenwirev1.ChatCompletionEvent {
	return delta(&tokenwirev1.Delta{ToolCalls: parts})
}

func finished(index int32) *tokenwirev1.ChatCompletionEvent {
	return &tokenwirev1.ChatCompletionEvent{Event: &tokenwirev1.ChatCompletionEvent_Finished{
		Finished: &tokenwirev1.Finished{Index: index, FinishReason: tokenwirev1.FinishReason_FINISH_REASON_STOP},
	}}
}

func completed() *tokenwirev1.ChatCompletionEvent {
	return &tokenwirev1.ChatCompletionEvent{Event: &tokenwirev1.ChatCompletionEvent_Completed{
		Completed: &tokenwirev1.Completed{Usage: &tokenwirev1.Usage{CompletionTokens: 2}},
	}}
}

// numbered gives the events their sequences, from first.
func numbered(first int64, events events) events {
	for index, event := range events {
		event.Sequence = first + int64(index)
	}
	return events
}

// problem is what a checker has to say about a stream that ends after these events.
func problem(checker *checker, events events) error {
	for _, event := range events {
		if err := checker.check(event); err != nil {
			return err
		}
	}
	return checker.end()
}

func expectProblem(t *testing.T, err error, part string) {
	t.Helper()
	var broken *BrokenStreamError
	switch {
	case part == "" && err != nil:
		t.Errorf("a good stream is refused: %v", err)
	case part != "" && !errors.As(err, &broken):
		t.Errorf("got %v, want a *BrokenStreamError", err)
	case part != "" && !strings.Contains(broken.Message, part):
		t.Errorf("got %q, want %q in it", broken.Message, part)
	}
}

func TestTheGrammarOfAStream(t *testing.T) {
	for name, test := range map[string]struct {
		events  events
		problem string // empty: none
	}{
		"an answer":                  {events{started(1), text("a"), text("b"), finished(0), completed()}, ""},
		"an answer without text":     {events{started(1), finished(0), completed()}, ""},
		"a kind that is not known":   {events{started(1), {}, finished(0), completed()}, ""},
		"choices that interleave":    {events{started(2), text("a"), finished(1), text("b"), finished(0), completed()}, ""},
		"nothing":                    {events{}, "without `completed`"},
		"no `completed`":             {events{started(1), finished(0)}, "without `completed`"},
		"no `started`":               {events{text("a")}, "before `started`"},
		"a second `started`":         {events{started(1), started(1)}, "second `started`"},
		"an open choice":             {events{started(2), finished(0), completed()}, "1 choices are open"},
		"text of a finished choice":  {events{started(1), finished(0), text("a")}, "choice 0, which is finished"},
		"a choice below 0":           {events{started(1), delta(&tokenwirev1.Delta{Index: -1})}, "choice -1"},
		"an event after the end":     {events{started(1), finished(0), completed(), text("a")}, "after `completed`"},
		"reasoning after content":    {events{started(1), text("a"), delta(&tokenwirev1.Delta{Reasoning: "r"})}, "reasoning after"},
		"a call in parts":            {events{started(1), call(part(0, "1", "f"), part(0, "", "")), call(part(1, "2", "g")), finished(0), completed()}, ""},
		"a call without its id":      {events{started(1), call(part(0, "", "f"))}, "first part only"},
		"a call that is left out":    {events{started(1), call(part(1, "1", "f"))}, "out of order"},
		"a call below 0":             {events{started(1), call(part(-1, "", ""))}, "out of order"},
		"a second id of a call":      {events{started(1), call(part(0, "1", "f")), call(part(0, "1", ""))}, "first part only"},
		"a choice without a reason":  {events{started(1), {Event: &tokenwirev1.ChatCompletionEvent_Finished{Finished: &tokenwirev1.Finished{}}}}, "without a reason"},
		"log-probabilities too late": {events{started(1), text("a"), {Event: &tokenwirev1.ChatCompletionEvent_PromptLogprobs{}}}, "after an answer began"},
	} {
		t.Run(name, func(t *testing.T) {
			expectProblem(t, problem(newChecker(), numbered(0, test.events)), test.problem)
		})
	}
}

func part(index int32, id, name string) *tokenwirev1.ToolCallDelta {
	return &tokenwirev1.ToolCallDelta{Index: index, Id: id, Name: name}
}

func TestTheGrammarOfTheRestOfAStream(t *testing.T) {
	for name, test := range map[string]struct {
		events  events
		problem string
	}{
		"text":                      {events{text("a"), finished(0), completed()}, ""},
		"only the end":              {events{completed()}, ""},
		"the middle of a call":      {events{call(part(2, "", ""), part(3, "4", "f")), finished(0), completed()}, ""},
		"the beginning of a call":   {events{call(part(2, "3", "f"), part(2, "", "")), finished(0), completed()}, ""},
		"a call that is left out":   {events{call(part(2, "", ""), part(4, "5", "f"))}, "out of order"},
		"a call below 0":            {events{call(part(-1, "", ""))}, "out of order"},
		"the beginning of a stream": {events{started(1)}, "second `started`"},
		"a choice finished twice":   {events{finished(0), finished(0)}, "choice 0, which is finished"},
		"a choice below 0":          {events{finished(-1)}, "choice -1"},
	} {
		t.Run(name, func(t *testing.T) {
			expectProblem(t, problem(newRestChecker(6), numbered(7, test.events)), test.problem)
		})
	}
}

func TestSequencesIncreaseAndHeartbeatsRepeatThem(t *testing.T) {
	heartbeat := func(sequence int64) *tokenwirev1.ChatCompletionEvent {
		return &tokenwirev1.ChatCompletionEvent{Sequence: sequence, Event: &tokenwirev1.ChatCompletionEvent_Heartbeat{}}
	}
	begun := func() *checker {
		checker := newChecker()
		if err := checker.check(started(1)); err != nil {
			t.Fatal(err)
		}
		return checker
	}
	again := text("a")
	expectProblem(t, begun().check(again), "sequence 0 after 0")
	expectProblem(t, begun().check(heartbeat(0)), "")
	expectProblem(t, begun().check(heartbeat(1)), "a heartbeat of sequence 1 after 0")
	expectProblem(t, newChecker().check(heartbeat(0)), "before `started`")
}
