package convert

import (
	"github.com/labiium/chat2response/convert/responses"
)

// Replay emits the events of a whole response, for a client that wants a stream
// of an upstream that does not give one.
func Replay(resp *responses.Response, emit Emit) error {
	l := ladder{o: &Options{}, emit: emit}
	opening := openingOf(resp)
	for _, typ := range []string{responses.EventCreated, responses.EventInProgress} {
		if err := l.send(responses.Event{Type: typ, Response: opening}); err != nil {
			return err
		}
	}
	for i := range resp.Output {
		if err := l.replay(&resp.Output[i]); err != nil {
			return err
		}
	}
	last := *resp
	last.Output = l.output
	typ := terminalOf(resp.Status)
	if typ == responses.EventFailed {
		last.Status = responses.Failed
		if last.Error == nil {
			last.Error = responseError(FailedError(resp))
		}
	}
	return l.send(responses.Event{Type: typ, Response: &last})
}

// openingOf is a response as it stood before there was any output.
func openingOf(resp *responses.Response) *responses.Response {
	r := *resp
	r.Status, r.Output, r.Usage = responses.InProgress, []responses.Item{}, nil
	r.CompletedAt, r.Error, r.IncompleteDetails = nil, nil, nil
	return &r
}

// terminalOf is the event that ends a response of a status. One that is not
// complete must not look so.
func terminalOf(status string) string {
	switch status {
	case responses.Completed:
		return responses.EventCompleted
	case responses.Incomplete:
		return responses.EventIncomplete
	}
	return responses.EventFailed
}

// deltaLogprobs are log probabilities as the events of a stream have them.
func deltaLogprobs(in []responses.Logprob) []responses.Logprob {
	out := make([]responses.Logprob, len(in))
	for i, p := range in {
		out[i] = responses.Logprob{Token: p.Token, Logprob: p.Logprob, TopLogprobs: make([]responses.Logprob, len(p.TopLogprobs))}
		for k, top := range p.TopLogprobs {
			out[i].TopLogprobs[k] = responses.Logprob{Token: top.Token, Logprob: top.Logprob}
		}
	}
	return out
}

// wholeLogprobs are log probabilities as a finished part has them, with the bytes
// that those of its deltas did not have.
func wholeLogprobs(list []responses.Logprob) []responses.Logprob {
	for i := range list {
		if list[i].Bytes == nil {
			list[i].Bytes = tokenBytes(list[i].Token)
		}
		if list[i].TopLogprobs == nil {
			list[i].TopLogprobs = []responses.Logprob{}
		}
		for k := range list[i].TopLogprobs {
			if top := &list[i].TopLogprobs[k]; top.Bytes == nil {
				top.Bytes = tokenBytes(top.Token)
			}
		}
	}
	return list
}
