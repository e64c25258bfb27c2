package chat2response

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/sse"
)

// paths are where an upstream of each API takes requests, below its base.
var paths = map[convert.API]string{convert.Chat: "/chat/completions", convert.Responses: "/responses"}

// answer calls the upstream, more than once where there are tools to run, and
// translates its answer.
func (x *exchange) answer() error {
	x.stream = x.req.Stream()
	x.out = sse.NewWriter(startWriter{x}, http.NewResponseController(x.w).Flush)
	x.write = x.req.Writer(x.out)
	if x.work != nil {
		x.write = x.work.event
	}
	x.resp = &responder{x: x, header: http.Header{}, body: keptBody{hold: x.hold}}
	if x.stream {
		defer enter(x.resp)()
	}
	defer x.resp.stop() // also when the upstream's handler panics: a timer must not write any more
	var err error
	if x.loop != nil {
		err = x.loop.run()
	} else if err = x.ask(); err == nil {
		err = x.deliver()
	}
	if err != errGone {
		return err
	}
	x.outcome = "client_gone"
	if !x.begun {
		x.w.WriteHeader(statusClientGone) // for the access log
	}
	return nil
}

// errGone is that the client has left.
var errGone = errors.New("the client has gone")

// ask calls the upstream once. What it answers has been emitted as events when ask
// returns, or stands in x.last; an error is one that came instead of an answer.
func (x *exchange) ask() error {
	ctx, cancel := context.WithCancel(x.r.Context())
	defer cancel()
	x.resp.locked(func() error { x.cancel = cancel; return nil })
	r := x.up.translated(ctx, x.r, paths[x.up.Mode], x.turn.Body, x.stream, x.owner)
	aborted, err := x.call(r)
	var cause *convert.Error
	if aborted || err != nil {
		cause = broken
	}
	lapsed := x.keyEnded()
	if lapsed != nil {
		cause = lapsed
	}
	ended := x.resp.finish(cause)
	switch {
	case !ended && lapsed != nil && !x.gone:
		x.outcome = "unauthorized"
		if x.resp.streaming {
			return nil
		}
		return lapsed
	case !ended && (x.gone || x.r.Context().Err() != nil):
		return errGone
	case x.resp.streaming:
		return nil
	case err != nil:
		return x.caddyError(err)
	case x.resp.refused != nil:
		x.outcome = "upstream_error"
		return x.resp.refused
	case aborted:
		x.outcome = "upstream_cut"
		return broken
	}
	return x.whole()
}

// statusClientGone is what Caddy's reverse_proxy logs, after nginx.
const statusClientGone = 499

// call hands the request to the upstream's handler. reverse_proxy panics with
// ErrAbortHandler when an answer breaks off in the middle: that is how it tells.
func (x *exchange) call(r *http.Request) (aborted bool, err error) {
	defer func() {
		switch e := recover(); e {
		case nil:
		case http.ErrAbortHandler:
			aborted = true
		default:
			x.outcome = "panicked"
			panic(e)
		}
	}()
	err = x.up.serve(x.resp, r, x.next)
	return false, err
}

// deliver ends the client's answer.
func (x *exchange) deliver() error {
	switch {
	case x.failure != nil && !x.begun:
		return x.failure
	case x.failure != nil:
		x.logFailure(x.failure)
		return nil
	case x.stream:
		return nil
	}
	return x.writeWhole(x.last)
}

// whole translates an answer that came in one piece.
func (x *exchange) whole() error {
	w := x.resp
	switch {
	case w.status == 0:
		x.outcome = "upstream_error"
		return &convert.Error{
			Status: http.StatusBadGateway, Type: "server_error", Code: "upstream_unavailable",
			Message: "No upstream answered: this gateway names none, and the handler behind it did nothing.",
		}
	case w.status >= 400:
		x.outcome = "upstream_" + strconv.Itoa(w.status/100) + "xx"
		e := convert.ReadError(w.status, w.body.bytes)
		e.Param = x.req.Param(e.Param, x.up.Mode)
		return e
	case w.status < 200 || w.status >= 300:
		x.outcome = "upstream_error"
		return noAnswer(w.status)
	}
	resp, err := x.turn.Answer(w.body.bytes)
	if err != nil {
		x.outcome = "upstream_error"
		return err
	}
	if x.loop == nil && !x.compacts && !x.stream {
		x.last = resp
		return nil
	}
	return x.resp.locked(func() error {
		if convert.Replay(resp, x.emit) != nil || x.send() != nil {
			return errGone
		}
		return nil
	})
}

// noAnswer is the error of a status that no API has, such as a redirect.
func noAnswer(status int) *convert.Error {
	return &convert.Error{
		Status: http.StatusBadGateway, Type: "server_error", Code: "bad_upstream_answer",
		Message: "The upstream answered " + strconv.Itoa(status) + ", which is not an answer of its API. Is its address, with the path, right?",
	}
}

// writeWhole sends the client its answer in one piece.
func (x *exchange) writeWhole(resp *responses.Response) error {
	x.last = resp
	x.outcome = outcomeOf(resp.Status)
	if x.work != nil {
		return x.work.end(resp)
	}
	if lost := x.record(resp); lost != nil {
		return lost
	}
	if x.compactOf != nil {
		return x.replyCompaction(resp)
	}
	body, err := x.req.Write(resp)
	if err != nil {
		return err
	}
	x.warn()
	x.w.Header().Set("Content-Type", "application/json")
	x.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	x.w.WriteHeader(http.StatusOK)
	x.w.Write(body)
	return nil
}

// emit takes the events of the upstream's answer, in order.
func (x *exchange) emit(e *responses.Event) error {
	x.ended = x.ended || responses.Terminal(e.Type)
	switch {
	case x.loop != nil:
		return x.loop.splice.Event(e)
	case x.compacts:
		return x.compacted(e)
	}
	return x.tell(e)
}

// tell takes the events of the client's answer, in order.
func (x *exchange) tell(e *responses.Event) error {
	if responses.Terminal(e.Type) {
		x.recordEvent(e)
		x.told = true
		x.last = e.Response
		x.outcome = outcomeOf(e.Response.Status)
		if e.Type == responses.EventFailed {
			if x.failure = x.lost; x.failure == nil {
				x.failure = convert.FailedError(e.Response)
			}
			x.failure.Message = x.redact(x.failure.Message)
			if e.Response.Error != nil {
				e.Response.Error.Message = x.failure.Message
			}
			if !x.begun {
				return nil // it can still be an HTTP status
			}
		}
	}
	if !x.stream {
		return nil
	}
	return x.write(e)
}

// send sends what has been emitted; not before a failure that can still be an
// HTTP status.
func (x *exchange) send() error {
	if x.failure != nil && !x.begun {
		return nil
	}
	return x.out.Send()
}

// outcomeOf bounds what an upstream can put into the metrics.
func outcomeOf(status string) string {
	switch status {
	case responses.Completed, responses.Incomplete, responses.Failed, responses.Cancelled:
		return status
	}
	return "other"
}

// startWriter is the client's ResponseWriter; it sends the header of a stream
// before the first event.
type startWriter struct{ x *exchange }

func (s startWriter) Write(b []byte) (int, error) {
	x := s.x
	if !x.begun {
		x.begun = true
		x.warn()
		header := x.w.Header()
		header.Set("Content-Type", "text/event-stream")
		header.Set("Cache-Control", "no-cache")
		header.Set("X-Accel-Buffering", "no") // nginx in front
		x.w.WriteHeader(http.StatusOK)
	}
	x.resp.sent = time.Now()
	n, err := x.w.Write(b)
	x.gone = x.gone || err != nil
	return n, err
}
