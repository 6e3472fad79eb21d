package tokenwire

import tokenwirev1 "tokenwire.dev/gen/tokenwire/v1"

// A checker holds the events of one stream against its grammar:
//
//	started prompt_logprobs* (delta | finished)* completed
//
// Each choice has exactly one finished, after its deltas; sequences strictly increase. Heartbeats may stand anywhere
// after started, with the sequence of the event before them. In a choice, reasoning comes before content, and one tool
// call after the other. An event of a kind that is not known passes.
type checker struct {
	hasSequence bool
	sequence    int64
	isRest      bool                  // The stream is the rest of one: what came before it is not known.
	open        map[int32]*openChoice // nil: not started
	finished    map[int32]bool
	answering   bool
	completed   bool
}

// unknown is the number of a choice's tool calls in the rest of a stream until one comes.
const unknown = -1

// openChoice is what the deltas of one choice had so far.
type openChoice struct {
	hasContent bool
	numCalls   int32
}

func newChecker() *checker {
	return &checker{finished: make(map[int32]bool)}
}

// newRestChecker is for the rest of a stream, after the event with this sequence.
func newRestChecker(afterSequence int64) *checker {
	c := newChecker()
	c.hasSequence, c.sequence = true, afterSequence
	c.isRest, c.open = true, make(map[int32]*openChoice)
	return c
}

// check takes the next event. The error is a *BrokenStreamError.
func (c *checker) check(event *tokenwirev1.ChatCompletionEvent) error {
	if c.completed {
		return broken("an event after `completed`")
	}
	if _, isHeartbeat := event.Event.(*tokenwirev1.ChatCompletionEvent_Heartbeat); isHeartbeat {
		return c.checkHeartbeat(event.Sequence)
	}
	if c.hasSequence && event.Sequence <= c.sequence {
		return broken("sequence %d after %d", event.Sequence, c.sequence)
	}
	c.hasSequence, c.sequence = true, event.Sequence
	switch event := event.Event.(type) {
	case *tokenwirev1.ChatCompletionEvent_Started:
		return c.checkStarted(event.Started)
	case *tokenwirev1.ChatCompletionEvent_PromptLogprobs:
		return c.checkPromptLogprobs()
	case *tokenwirev1.ChatCompletionEvent_Delta:
		return c.checkDelta(event.Delta)
	case *tokenwirev1.ChatCompletionEvent_Finished:
		return c.checkFinished(event.Finished)
	case *tokenwirev1.ChatCompletionEvent_Completed:
		return c.checkCompleted()
	}
	return nil
}

// end says what is missing in a stream that ended with status OK.
func (c *checker) end() error {
	if !c.completed {
		return broken("the stream ended OK without `completed`")
	}
	return nil
}

func (c *checker) checkHeartbeat(sequence int64) error {
	if !c.hasSequence {
		return broken("a heartbeat before `started`")
	}
	if sequence != c.sequence {
		return broken("a heartbeat of sequence %d after %d", sequence, c.sequence)
	}
	return nil
}

func (c *checker) checkStarted(started *tokenwirev1.Started) error {
	if c.open != nil {
		return broken("a second `started`")
	}
	c.open = make(map[int32]*openChoice)
	for index := int32(0); index < started.GetParameters().GetN(); index++ {
		c.open[index] = &openChoice{}
	}
	return nil
}

func (c *checker) checkPromptLogprobs() error {
	if c.open == nil {
		return broken("'prompt_logprobs' before `started`")
	}
	if c.answering {
		return broken("'prompt_logprobs' after an answer began")
	}
	return nil
}

func (c *checker) checkDelta(delta *tokenwirev1.Delta) error {
	choice, err := c.openChoice(delta.GetIndex(), "delta")
	if err != nil {
		return err
	}
	c.answering = true
	return choice.check(delta)
}

func (c *checker) checkFinished(finished *tokenwirev1.Finished) error {
	index := finished.GetIndex()
	if _, err := c.openChoice(index, "finished"); err != nil {
		return err
	}
	delete(c.open, index)
	c.finished[index] = true
	c.answering = true
	if finished.GetFinishReason() == tokenwirev1.FinishReason_FINISH_REASON_UNSPECIFIED {
		return broken("choice %d finished without a reason", index)
	}
	return nil
}

func (c *checker) checkCompleted() error {
	if c.open == nil {
		return broken("`completed` before `started`")
	}
	if len(c.open) > 0 {
		return broken("`completed` while %d choices are open", len(c.open))
	}
	c.completed = true
	return nil
}

// openChoice is the choice of an event of this kind.
func (c *checker) openChoice(index int32, kind string) (*openChoice, error) {
	if c.open == nil {
		return nil, broken("'%s' before `started`", kind)
	}
	choice := c.open[index]
	if choice == nil && c.isRest && index >= 0 && !c.finished[index] {
		choice = &openChoice{numCalls: unknown}
		c.open[index] = choice
	}
	if choice == nil {
		return nil, broken("'%s' for choice %d, which is finished or was never asked", kind, index)
	}
	return choice, nil
}

func (o *openChoice) check(delta *tokenwirev1.Delta) error {
	if delta.GetReasoning() != "" && o.hasContent {
		return broken("reasoning after the content of choice %d", delta.GetIndex())
	}
	o.hasContent = o.hasContent || delta.GetContent() != ""
	for _, part := range delta.GetToolCalls() {
		if err := o.checkCall(part, delta.GetIndex()); err != nil {
			return err
		}
	}
	return nil
}

func (o *openChoice) checkCall(part *tokenwirev1.ToolCallDelta, choice int32) error {
	hasID, hasName := part.GetId() != "", part.GetName() != ""
	if o.numCalls == unknown {
		o.numCalls = part.GetIndex()
		if !hasID {
			o.numCalls++
		}
	}
	isFirst := part.GetIndex() == o.numCalls
	if part.GetIndex() < 0 || (!isFirst && part.GetIndex() != o.numCalls-1) {
		return broken("tool call %d of choice %d is out of order", part.GetIndex(), choice)
	}
	if hasID != isFirst || hasName != isFirst {
		return broken("id and name of tool call %d belong in its first part only", part.GetIndex())
	}
	if isFirst {
		o.numCalls++
	}
	return nil
}
