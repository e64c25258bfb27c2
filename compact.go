package chat2response

import (
	"errors"
	"net/http"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/convert/responses"
)

// isCompact tells a request to compact a conversation.
func (x *exchange) isCompact() bool {
	return x.asksAside("/responses/compact")
}

// compact answers POST /responses/compact for models of a Chat upstream: with the
// user's messages, and a compaction item that holds the upstream's summary of all
// there is. Upstreams that speak Responses compact for themselves. Nothing is stored.
// https://platform.openai.com/docs/api-reference/responses/compact
func (x *exchange) compact() error {
	alias, passed, err := x.readAside()
	if passed || err != nil {
		return err
	}
	c := x.req.Canonical
	c.Stream, c.Background = nil, nil
	all := append(append([]responses.Item{}, x.req.Past...), c.Input...)
	if !x.req.Compacts() {
		c.Input = append(c.Input[:len(c.Input):len(c.Input)], responses.Item{Type: "compaction_trigger"})
	}
	o, err := x.options(alias)
	if err != nil {
		return err
	}
	x.compactOf = all
	return x.answerWith(o)
}

// compaction is the answer to /responses/compact.
type compaction struct {
	ID        string           `json:"id"`
	Object    string           `json:"object"`
	CreatedAt int64            `json:"created_at"`
	Output    []responses.Item `json:"output"`
	Usage     *responses.Usage `json:"usage"`
}

// replyCompaction sends the user's messages and the compaction item of a response.
func (x *exchange) replyCompaction(resp *responses.Response) error {
	if resp.Status != responses.Completed {
		return &convert.Error{
			Status: http.StatusBadGateway, Type: "server_error", Code: "server_error",
			Message: "The conversation could not be compacted: the upstream's summary broke off.",
		}
	}
	kept := convert.UserMessages(x.compactOf)
	for i := range kept {
		it := &kept[i]
		it.Type, it.Status = "message", responses.Completed
		if it.ID == "" {
			it.ID = convert.NewID("msg_")
		}
		if text := it.Content.Text; it.Content.IsText() {
			it.Content = responses.Parts(responses.Part{Type: "input_text", Text: &text})
		}
	}
	x.warn()
	return x.reply(compaction{resp.ID, "response.compaction", int64(resp.CreatedAt), append(kept, resp.Output...), resp.Usage})
}

// compacted takes the events of an upstream's summary; those of the client's answer
// are made when it is complete.
func (x *exchange) compacted(e *responses.Event) error {
	if !responses.Terminal(e.Type) {
		return nil
	}
	resp := e.Response
	if e.Type != responses.EventFailed {
		done, err := x.turn.Compacted(resp)
		if err == nil {
			return convert.Replay(done, x.tell)
		}
		errors.As(err, &x.lost)
		failed := *resp
		failed.Status, failed.Output, failed.IncompleteDetails, failed.CompletedAt = responses.Failed, []responses.Item{}, nil, nil
		failed.Error = &responses.ResponseError{Code: "server_error", Message: err.Error()}
		resp = &failed
	}
	if x.begun { // by a comment, while nothing came
		return convert.Replay(resp, x.tell)
	}
	return x.tell(&responses.Event{Type: responses.EventFailed, Response: resp})
}
