package chat2response

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/history"
)

// saveWithin is how long the end of an answer waits for it to be stored.
const saveWithin = 2 * time.Second

// record keeps a response that has ended, before its client learns of the end: the
// client's next request may be at another gateway at once. Should it fail, the
// client gets its answer all the same, which says then that it is not stored. Only
// one that has lost the race for its conversation is an error.
func (x *exchange) record(resp *responses.Response) *convert.Error {
	m := x.memory
	if m == nil || m.done {
		return nil
	}
	m.done = true
	defer m.release()
	if !m.save || x.key == nil && !x.accepted {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), saveWithin)
	defer cancel()
	var err error
	if m.chat {
		err = x.saveCompletion(ctx, resp)
	} else {
		m.turn.Response = resp
		err = m.tenant.Save(ctx, m.turn)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, history.ErrConflict) && m.turn.Thread != nil:
		return locked(m.turn.Thread.ID)
	}
	x.notKept(err)
	convert.SetStored(resp, false)
	return nil
}

// recordEvent is record for the terminal event of a stream, which a lost race turns
// into a failure.
func (x *exchange) recordEvent(e *responses.Event) {
	if e.Type == responses.EventFailed && !x.begun && x.memory != nil {
		x.memory.save = false // the client gets an HTTP status, and no id
	}
	lost := x.record(e.Response)
	if lost == nil {
		return
	}
	failed := *e.Response
	failed.Status, failed.IncompleteDetails, failed.CompletedAt = responses.Failed, nil, nil
	failed.Error = &responses.ResponseError{Code: lost.Code, Message: lost.Message}
	convert.SetStored(&failed, false)
	e.Type, e.Response = responses.EventFailed, &failed
	x.lost = lost
}

// saveCompletion keeps an answer as the chat completion that the client gets.
func (x *exchange) saveCompletion(ctx context.Context, resp *responses.Response) error {
	object, err := x.req.Write(resp)
	if err != nil {
		return err
	}
	var has struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(object, &has); err != nil {
		return err
	}
	messages, err := x.req.Messages()
	if err != nil {
		return err
	}
	return x.memory.tenant.SaveCompletion(ctx, history.Completion{
		ID: has.ID, Model: resp.Model, Metadata: x.req.Canonical.Metadata, Object: object, Messages: messages,
	})
}

var notKeptLog = rate.Sometimes{Interval: time.Second}

// notKept tells the operator that an answer could not be kept.
func (x *exchange) notKept(err error) {
	x.unkept = true
	stateErrorsTotal.Inc()
	notKeptLog.Do(func() {
		x.h.logger.Warn("an answer could not be stored", zap.Error(err), zap.String("model", x.model))
	})
}

func itoa(n int) string { return strconv.Itoa(n) }
