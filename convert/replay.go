package convert

import (
	"github.com/labiium/chat2response/convert/responses"
)

// Replay emits the events of a whole response, for a client that wants a stream
// of an upstream that does not give one.
func Replay(resp *responses.Response, emit Emit) error {
	opening := *resp
	opening.Status, opening.Output, opening.Usage = responses.InProgress, []responses.Item{}, nil
	opening.CompletedAt, opening.Error, opening.IncompleteDetails = nil, nil, nil
	for _, typ := range []string{responses.EventCreated, responses.EventInProgress} {
		if err := emit(&responses.Event{Type: typ, Response: &opening}); err != nil {
			return err
		}
	}
	for i := range resp.Output {
		if err := replayItem(&resp.Output[i], i, emit); err != nil {
			return err
		}
	}
	typ := responses.EventCompleted
	switch resp.Status {
	case responses.Incomplete:
		typ = responses.EventIncomplete
	case responses.Failed, responses.Cancelled:
		typ = responses.EventFailed
	}
	return emit(&responses.Event{Type: typ, Response: resp})
}

// replayItem emits the events of one item.
func replayItem(item *responses.Item, index int, emit Emit) error {
	r := replayer{id: item.ID, index: index, emit: emit}
	opening := *item
	if item.Status != "" {
		opening.Status = responses.InProgress
	}
	switch item.Type {
	case "message":
		opening.Content = responses.Parts()
		r.send(responses.Event{Type: responses.EventItemAdded, Item: &opening})
		for i := range item.Content.Parts {
			r.part(&item.Content.Parts[i], i)
		}
	case "reasoning":
		opening.Summary, opening.EncryptedContent = []responses.Part{}, ""
		if !item.Content.IsZero() {
			opening.Content = responses.Parts()
		}
		r.send(responses.Event{Type: responses.EventItemAdded, Item: &opening})
		for i := range item.Summary {
			r.summary(&item.Summary[i], i)
		}
		for i := range item.Content.Parts {
			r.part(&item.Content.Parts[i], i)
		}
	case "function_call":
		opening.Arguments = responses.String("")
		r.send(responses.Event{Type: responses.EventItemAdded, Item: &opening})
		if args := item.Arguments.JSON(); args != "" {
			r.send(responses.Event{Type: responses.EventArgumentsDelta, Delta: args})
		}
		r.send(responses.Event{Type: responses.EventArgumentsDone, Arguments: item.Arguments.JSON()})
	case "custom_tool_call":
		opening.Input = new(string)
		r.send(responses.Event{Type: responses.EventItemAdded, Item: &opening})
		input := or(item.Input, "")
		if input != "" {
			r.send(responses.Event{Type: responses.EventInputDelta, Delta: input})
		}
		r.send(responses.Event{Type: responses.EventInputDone, Input: input})
	default:
		r.send(responses.Event{Type: responses.EventItemAdded, Item: &opening})
	}
	r.send(responses.Event{Type: responses.EventItemDone, Item: item})
	return r.err
}

// replayer emits events of one item until one fails.
type replayer struct {
	id    string
	index int
	emit  Emit
	err   error
}

func (r *replayer) send(e responses.Event) {
	if r.err != nil {
		return
	}
	e.ItemID, e.OutputIndex = r.id, r.index
	r.err = r.emit(&e)
}

func (r *replayer) part(p *responses.Part, i int) {
	empty := responses.Part{Type: p.Type}
	delta := responses.Event{ContentIndex: i, Delta: p.Str()}
	done := responses.Event{ContentIndex: i}
	switch p.Type {
	case "output_text":
		empty = responses.OutputText("")
		delta.Type, done.Type = responses.EventTextDelta, responses.EventTextDone
		done.Text, done.Logprobs = p.Str(), p.Logprobs
		delta.Logprobs = deltaLogprobs(p.Logprobs)
	case "refusal":
		empty = responses.Refusal("")
		delta.Type, done.Type, done.Refusal = responses.EventRefusalDelta, responses.EventRefusalDone, p.Str()
	case "reasoning_text":
		empty = responses.ReasoningText("")
		delta.Type, done.Type, done.Text = responses.EventReasoningDelta, responses.EventReasoningDone, p.Str()
	}
	r.send(responses.Event{Type: responses.EventPartAdded, ContentIndex: i, Part: &empty})
	if delta.Type != "" && delta.Delta != "" {
		r.send(delta)
	}
	for k := range p.Annotations {
		r.send(responses.Event{Type: responses.EventAnnotationAdded, ContentIndex: i, AnnotationIndex: k, Annotation: &p.Annotations[k]})
	}
	if done.Type != "" {
		r.send(done)
	}
	r.send(responses.Event{Type: responses.EventPartDone, ContentIndex: i, Part: p})
}

func (r *replayer) summary(p *responses.Part, i int) {
	empty := responses.SummaryText("")
	r.send(responses.Event{Type: responses.EventSummaryPartAdded, SummaryIndex: i, Part: &empty})
	r.send(responses.Event{Type: responses.EventSummaryDelta, SummaryIndex: i, Delta: p.Str()})
	r.send(responses.Event{Type: responses.EventSummaryDone, SummaryIndex: i, Text: p.Str()})
	r.send(responses.Event{Type: responses.EventSummaryPartDone, SummaryIndex: i, Part: p})
}

// deltaLogprobs are log probabilities as the events of a stream have them.
func deltaLogprobs(in []responses.Logprob) []responses.Logprob {
	out := make([]responses.Logprob, len(in))
	for i, p := range in {
		out[i] = responses.Logprob{Token: p.Token, Logprob: p.Logprob, TopLogprobs: deltaLogprobs(p.TopLogprobs)}
	}
	return out
}
