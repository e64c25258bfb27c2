package chat2response

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/go-json-experiment/json"
	"go.uber.org/zap"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/history"
	"github.com/labiium/chat2response/sse"
)

// background tells whether the answer is to be made while nobody waits for it.
func (x *exchange) background() bool {
	b := x.req.Canonical.Background
	return b != nil && *b && x.req.In == convert.Responses && x.memory != nil
}

// detach stores the response as queued, has it made by a goroutine that outlives
// the request, and tells the client of it: the response as it is, or its events.
// https://platform.openai.com/docs/guides/background
func (x *exchange) detach(o convert.Options) error {
	m := x.memory
	if !m.save {
		return badRequest("invalid_value", "background", "Background mode requires 'store' to be true.")
	}
	if x.loop == nil { // what cannot be translated is refused at once
		if _, err := x.to(x.up.Mode, o); err != nil {
			return err
		}
	}
	if err := x.mayKeep(m.tenant); err != nil {
		return err
	}
	owner := x.owner()
	if !m.archive.enlist(owner, x.h.State.maxBackground()) {
		x.outcome = "rate_limited"
		x.w.Header().Set("Retry-After", "5")
		return &convert.Error{
			Status: http.StatusTooManyRequests, Type: "requests", Code: "rate_limit_exceeded",
			Message: "Too many background responses of yours are running (max_background). Wait for some to end, or cancel them.",
		}
	}
	queued := x.req.Queue(&o)
	m.turn.Response = queued
	stream := x.req.Stream()
	job, err := m.tenant.Start(context.Background(), m.turn, stream)
	if err != nil {
		m.archive.dismiss(owner, nil)
		return x.stateError(err, "")
	}
	m.archive.track(job)
	x.outcome = "background"
	y := x.worker(job)
	x.leaves = nil // the worker's now
	waits := m.archive
	waitErr := waits.use(x.r.Context()) // for this request itself
	go y.run(queued, o)
	if waitErr != nil {
		return x.stateError(waitErr, "")
	}
	defer waits.leave()
	x.memory = nil
	if stream {
		return x.replay(m.tenant, queued.ID, -1)
	}
	return x.reply(queued)
}

// worker is the exchange that makes the answer: that of the client, with nobody to
// write to, and on a request of its own.
func (x *exchange) worker(job *history.Job) *exchange {
	y := &exchange{
		h: x.h, w: nobody{http.Header{}}, next: x.next, route: x.route, up: x.up, req: x.req, model: x.model,
		key: x.key, keyed: x.keyed, leaves: x.leaves, body: x.body, opened: x.opened, held: x.held, loop: x.loop, sent: x.sent, same: x.same,
		work: &work{job: job, turn: x.memory.turn},
	}
	if y.loop != nil {
		y.loop.x = y
	}
	ctx := x.r.Context()
	own, cancel := context.WithCancelCause(job.Context())
	y.leaves = append(y.leaves, func() { cancel(nil) })
	if x.keyed != nil {
		unhook := context.AfterFunc(x.keyed, func() { cancel(context.Cause(x.keyed)) })
		y.leaves = append(y.leaves, func() { unhook() })
	}
	r := x.r.WithContext(own)
	r.Body = http.NoBody // it has been read
	r.Header = x.r.Header.Clone()
	repl := caddy.NewReplacer()
	if old, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(func(name string) (any, bool) { return old.Get(name) }) // what handlers before this one have set
	}
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	vars, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	y.r = caddyhttp.PrepareRequest(r, repl, y.w, server)
	maps.Copy(y.r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any), vars)
	return y
}

// run makes the answer. It ends with the job finished, or lost to someone who has
// cancelled or deleted the response.
func (x *exchange) run(queued *responses.Response, o convert.Options) {
	job := x.work.job
	defer x.leave()
	defer x.count()
	defer x.h.State.archive.dismiss(x.owner(), job)
	defer job.Close() // what is not finished has failed
	defer func() {
		if e := recover(); e != nil {
			x.outcome = "panicked"
			x.h.logger.Error("a background response panicked", zap.Any("panic", e), zap.Stack("stack"))
		}
	}()
	ctx := job.Context()
	x.begun = true // whatever comes is an event, and no HTTP status
	if err := job.InProgress(ctx); err != nil {
		x.work.err = err
	} else if err := x.answerWith(o); err != nil {
		var e *convert.Error
		if !errors.As(err, &e) {
			e = upstreamError(err)
		}
		x.logFailure(e)
		x.work.fail(queued, e)
	} else if x.failure != nil {
		x.work.fail(queued, x.failure)
	}
	x.logWork(queued.ID)
	if x.work.err != nil && !errors.Is(x.work.err, history.ErrLost) {
		x.h.logger.Warn("a background response could not be stored", zap.Error(x.work.err), zap.String("model", x.model))
		stateErrorsTotal.Inc()
	}
}

// logWork logs how a background response has ended: the access log has only the
// request that began it.
func (x *exchange) logWork(id string) {
	fields := []zap.Field{zap.String("response", id), zap.String("outcome", x.outcome), zap.String("model", x.model)}
	if x.last != nil && x.last.Usage != nil {
		fields = append(fields, zap.Int64("input_tokens", x.last.Usage.InputTokens), zap.Int64("output_tokens", x.last.Usage.OutputTokens))
	}
	x.h.logger.Info("background response ended", fields...)
}

// work is what a background response is made for: its job in the history.
type work struct {
	job  *history.Job
	turn history.Turn
	seq  int64
	done bool
	err  error // why it could not be stored
}

// event keeps an event of the answer, or ends the job with the terminal one.
func (w *work) event(e *responses.Event) error {
	if w.done {
		return nil
	}
	if responses.Terminal(e.Type) {
		return w.end(e.Response)
	}
	last, err := w.encode(e)
	if err == nil {
		err = w.job.Log(w.job.Context(), last)
	}
	if errors.Is(err, history.ErrLost) || errors.Is(err, history.ErrTooLarge) {
		w.err = err
		return err
	}
	return nil // it is kept, and written with the next
}

func (w *work) encode(e *responses.Event) (history.Event, error) {
	e.SequenceNumber = w.seq
	data, err := e.Append(nil)
	w.seq++
	return history.Event{Sequence: e.SequenceNumber, Data: data}, err
}

// terminals are the events that tell of an end.
var terminals = map[string]string{
	responses.Completed: responses.EventCompleted, responses.Incomplete: responses.EventIncomplete, responses.Failed: responses.EventFailed,
}

// finishTries is how often the end of a response is stored again while the store
// does not answer, finishPause how long is waited between.
const (
	finishTries = 10
	finishPause = time.Second
)

// end stores how the response has ended. One that lost the race for its
// conversation, or is too large to be kept, has failed.
func (w *work) end(resp *responses.Response) error {
	if w.done {
		return nil
	}
	w.done = true
	for try := 1; ; try++ {
		last, err := w.encode(&responses.Event{Type: terminals[resp.Status], Response: resp})
		if err == nil {
			ctx, cancel := context.WithTimeout(w.job.Context(), saveWithin)
			err = w.job.Finish(ctx, resp, last)
			cancel()
		}
		w.err = err
		w.seq = last.Sequence // the same number again
		switch {
		case err == nil || errors.Is(err, history.ErrLost) || try == finishTries:
			return err
		case resp.Status == responses.Failed:
		case errors.Is(err, history.ErrConflict) && w.turn.Thread != nil:
			resp = failedAs(resp, locked(w.turn.Thread.ID))
			continue
		case errors.Is(err, history.ErrTooLarge), errors.Is(err, history.ErrInvalid):
			resp = failedAs(resp, &convert.Error{Code: "server_error", Message: sentence(err)})
			continue
		}
		select {
		case <-w.job.Context().Done():
			return err
		case <-time.After(finishPause):
		}
	}
}

// fail ends the job with an error.
func (w *work) fail(queued *responses.Response, e *convert.Error) { w.end(failedAs(queued, e)) }

// failedAs is a response that has failed for a reason of the gateway's.
func failedAs(resp *responses.Response, e *convert.Error) *responses.Response {
	failed := *resp
	failed.Status, failed.Output, failed.CompletedAt, failed.IncompleteDetails = responses.Failed, []responses.Item{}, nil, nil
	code := e.Code
	if code == "" {
		code = "server_error"
	}
	failed.Error = &responses.ResponseError{Code: code, Message: redact(e.Message)}
	return &failed
}

// nobody is the client of a background response.
type nobody struct{ header http.Header }

func (n nobody) Header() http.Header         { return n.header }
func (n nobody) Write(b []byte) (int, error) { return len(b), nil }
func (n nobody) WriteHeader(int)             {}
func (n nobody) FlushError() error           { return nil }

// replay sends the events of a background response whose numbers are above after,
// those that come included, to its end.
func (x *exchange) replay(t history.Tenant, id string, after int64) error {
	ctx := x.r.Context()
	events, err := t.Events(ctx, id, after)
	if err != nil {
		return x.replayError(err)
	}
	header := x.w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-cache")
	header.Set("X-Accel-Buffering", "no") // nginx in front
	x.w.WriteHeader(http.StatusOK)
	out := sse.NewWriter(x.w, http.NewResponseController(x.w).Flush)
	for {
		list, err := x.nextEvents(ctx, events, out)
		for _, e := range list {
			var has struct {
				Type string `json:"type"`
			}
			if json.Unmarshal(e.Data, &has, storedOptions) != nil {
				continue // not reached: it was written here
			}
			if err := out.Event(has.Type, e.Data); err != nil {
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			out.Event("", []byte("[DONE]"))
		} else if err != nil && ctx.Err() == nil {
			x.h.logger.Warn("the events of a background response", zap.Error(err))
			return errors.Join(out.Send(), http.ErrAbortHandler)
		}
		if sent := out.Send(); sent != nil || err != nil {
			return nil
		}
	}
}

// replayError leaves an id that is not there to the caller.
func (x *exchange) replayError(err error) error {
	if errors.Is(err, history.ErrNotFound) {
		return err
	}
	return x.stateError(err, "")
}

// nextEvents waits for events, and sends comments meanwhile.
func (x *exchange) nextEvents(ctx context.Context, events *history.Events, out *sse.Writer) ([]history.Event, error) {
	every := time.Duration(x.h.KeepAlive)
	if every < 0 {
		return events.Next(ctx)
	}
	for {
		limited, cancel := context.WithTimeout(ctx, every)
		list, err := events.Next(limited)
		quiet := limited.Err() != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded)
		cancel()
		if !quiet {
			return list, err
		}
		out.Comment("keepalive")
		if err := out.Send(); err != nil {
			return nil, err
		}
	}
}
