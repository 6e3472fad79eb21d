package tokenwire

import (
	"strings"

	tokenwirev1 "tokenwire.dev/gen/tokenwire/v1"
)

// A folder folds the events of a stream, which a checker has let pass, into the answer that the unary call gives. Of the
// rest of a stream it makes what the rest has of the answer.
//
// Texts grow in strings.Builders, whose strings share the memory: an event costs what is new in it.
type folder struct {
	completion *tokenwirev1.ChatCompletion
	texts      []*choiceTexts
}

// choiceTexts is what grows of one choice.
type choiceTexts struct {
	content, reasoning strings.Builder
	arguments          []*strings.Builder // one a tool call
}

func newFolder() *folder {
	return &folder{completion: &tokenwirev1.ChatCompletion{}}
}

// add takes the next event.
func (f *folder) add(event *tokenwirev1.ChatCompletionEvent) {
	switch event := event.Event.(type) {
	case *tokenwirev1.ChatCompletionEvent_Started:
		f.start(event.Started)
	case *tokenwirev1.ChatCompletionEvent_PromptLogprobs:
		f.completion.PromptLogprobs = append(f.completion.PromptLogprobs, event.PromptLogprobs.GetTokens()...)
	case *tokenwirev1.ChatCompletionEvent_Delta:
		f.append(event.Delta)
	case *tokenwirev1.ChatCompletionEvent_Finished:
		choice, _ := f.choice(event.Finished.GetIndex())
		choice.FinishReason = event.Finished.GetFinishReason()
		choice.StopMatch = event.Finished.GetStopMatch()
	case *tokenwirev1.ChatCompletionEvent_Completed:
		f.completion.Usage = event.Completed.GetUsage()
		f.completion.Timings = event.Completed.GetTimings()
	}
}

func (f *folder) start(started *tokenwirev1.Started) {
	f.completion.Id = started.GetId()
	f.completion.Created = started.GetCreated()
	f.completion.Model = started.GetModel()
	f.completion.SystemFingerprint = started.GetSystemFingerprint()
	f.completion.Parameters = started.GetParameters()
	f.completion.ServiceTier = started.GetServiceTier()
	f.completion.Usage = &tokenwirev1.Usage{PromptTokens: started.GetPromptTokens()}
	if n := started.GetParameters().GetN(); n > 0 {
		f.choice(n - 1)
	}
}

// choice is the one with this index; it makes those up to it.
func (f *folder) choice(index int32) (*tokenwirev1.Choice, *choiceTexts) {
	for next := int32(len(f.texts)); next <= index; next++ {
		f.completion.Choices = append(f.completion.Choices, &tokenwirev1.Choice{Index: next})
		f.texts = append(f.texts, &choiceTexts{})
	}
	return f.completion.Choices[index], f.texts[index]
}

func (f *folder) append(delta *tokenwirev1.Delta) {
	choice, texts := f.choice(delta.GetIndex())
	choice.Content = grown(&texts.content, delta.GetContent())
	choice.Reasoning = grown(&texts.reasoning, delta.GetReasoning())
	choice.Logprobs = append(choice.Logprobs, delta.GetLogprobs()...)
	for _, part := range delta.GetToolCalls() {
		for int(part.GetIndex()) >= len(choice.ToolCalls) {
			choice.ToolCalls = append(choice.ToolCalls, &tokenwirev1.ToolCall{Function: &tokenwirev1.FunctionCall{}})
			texts.arguments = append(texts.arguments, &strings.Builder{})
		}
		call := choice.ToolCalls[part.GetIndex()]
		if part.GetId() != "" {
			call.Id = part.GetId()
			call.Function.Name = part.GetName()
		}
		call.Function.Arguments = grown(texts.arguments[part.GetIndex()], part.GetArguments())
	}
}

// grown is the text with a new piece.
func grown(text *strings.Builder, piece string) string {
	text.WriteString(piece)
	return text.String()
}
