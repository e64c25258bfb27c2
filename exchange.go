package chat2response

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/keystore"
	"github.com/labiium/chat2response/sse"
)

// exchange is one request from its path to the last byte of its answer.
type exchange struct {
	h     *Handler
	w     http.ResponseWriter
	r     *http.Request
	next  caddyhttp.Handler
	route route

	up    *Upstream
	req   *convert.Request
	turn  *convert.Turn
	model string // the client's name for it

	key    *keystore.Key // the client's
	leaves []func()      // give back what admit has taken

	// Of a translated answer:
	stream  bool // the client wants a stream
	write   convert.Emit
	out     *sse.Writer
	resp    *responder
	cancel  context.CancelFunc // of the upstream's request
	begun   bool               // the client's header has been sent
	ended   bool               // the terminal event has been emitted
	gone    bool               // writing to the client has failed
	last    *responses.Response
	failure *convert.Error // the answer failed
	cause   error          // what Caddy said of it
	outcome string         // for the log and the metrics
}

// set sets a placeholder of the request.
func (x *exchange) set(name, value string) {
	repl := x.r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	repl.Set("http.chat2response."+name, value)
}

// serve answers the request. Errors of type *convert.Error are for the client.
func (x *exchange) serve() error {
	if len(x.route.methods) > 0 && !slices.Contains(x.route.methods, x.r.Method) {
		if x.route.in == convert.Responses && isUpgrade(x.r) {
			return noWebSocket
		}
		return notAllowed(x.w, x.route.methods, x.r.Method)
	}
	switch x.route.name {
	case "status":
		return x.status()
	case "keys":
		return x.keysAPI()
	case "convert":
		return x.convert()
	}
	if err := x.admit(); err != nil {
		return err
	}
	if x.route.name == "passthrough" {
		return x.passThrough()
	}
	if x.express() {
		x.outcome = "express"
		return x.direct(x.h.Upstreams[0], x.route.path, nil)
	}
	return x.translate()
}

// express tells whether the request can go to the upstream unread, and the
// answer to the client: both speak the same API, and there is nothing to do in
// between. This is the one place where that is decided.
//
// A body of unknown length is read first: found too large on the way, it would
// count as a failure of the upstream, and clients could switch upstreams off.
func (x *exchange) express() bool {
	length := x.r.ContentLength
	return !x.byModel() && x.route.in == x.h.Upstreams[0].Mode && x.r.Header.Get("Content-Encoding") == "" &&
		checkMediaType(x.r.Header.Get("Content-Type")) == nil && length >= 0 && length <= x.h.MaxBody
}

// noWebSocket is the answer to a client that would rather speak WebSocket; Codex
// goes on with POST when it is told 426, and with nothing else.
var noWebSocket = &convert.Error{
	Status: http.StatusUpgradeRequired, Type: "invalid_request_error", Code: "websocket_not_supported",
	Message: "WebSocket is not supported here; use POST with server-sent events.",
}

// isUpgrade tells a request for WebSocket, of HTTP/1.1 or of HTTP/2 (RFC 8441).
func isUpgrade(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || r.Header.Get(":protocol") == "websocket"
}

// direct hands the request to an upstream whose answer goes to the client as it
// is. body replaces the client's, if it is not nil.
func (x *exchange) direct(u *Upstream, path string, body []byte) error {
	x.up = u
	r := u.request(x.r.Context(), x.r, path, body)
	if x.route.name == "passthrough" {
		// A slash in a model's name stays %2F. Go uses this only where it is an
		// encoding of the path.
		r.URL.RawPath = u.base + strings.TrimPrefix(x.r.URL.RawPath, "/v1")
	}
	// reverse_proxy panics when an answer breaks off. The client must see that too,
	// so the panic goes on.
	outcome := x.outcome
	x.outcome = "aborted"
	err := u.serve(x.w, r, x.next)
	x.outcome = outcome
	return x.caddyError(err)
}

// caddyError makes an error of a Caddy handler one for the client.
func (x *exchange) caddyError(err error) error {
	if err == nil {
		return nil
	}
	x.outcome, x.cause = "upstream_error", err
	return upstreamError(err)
}

// passThrough hands every other path of the API to the upstream.
func (x *exchange) passThrough() error {
	x.outcome = "passthrough"
	u := x.h.choose("")
	stored := strings.HasPrefix(x.route.path, "/responses/")
	if stored && u.Mode == convert.Chat {
		if u = x.h.first(convert.Responses); u == nil {
			return x.noSuchPath()
		}
	}
	// A body that names a model goes where the model is, under the name that it has
	// there. Others, such as uploads, go to the first upstream.
	if x.byModel() && x.r.Method == http.MethodPost && x.r.Header.Get("Content-Type") != "" && checkMediaType(x.r.Header.Get("Content-Type")) == nil {
		body, err := readBody(x.r, x.h.MaxBody)
		if err != nil {
			return err
		}
		u, name, err := x.upstreamOf(body)
		if err != nil {
			return err
		}
		if stored && u.Mode == convert.Chat {
			return x.noSuchPath()
		}
		if name != "" {
			if body, err = convert.SetModel(body, name); err != nil {
				return err
			}
		}
		return x.direct(u, x.route.path, body)
	}
	if x.key != nil && x.key.Models != nil && x.r.Method == http.MethodPost {
		return x.keyError(keystore.ErrModelNotAllowed) // the body does not show its model
	}
	return x.direct(u, x.route.path, nil)
}

func (x *exchange) noSuchPath() error {
	return &convert.Error{
		Status: http.StatusNotFound, Type: "invalid_request_error",
		Message: "There is nothing at '" + x.r.URL.Path + "': the upstream speaks Chat Completions, and this gateway keeps no responses.",
	}
}

// upstreamOf chooses the upstream for a body by its model, and tells the upstream's
// name for the model where it differs.
func (x *exchange) upstreamOf(body []byte) (*Upstream, string, error) {
	model, err := convert.ModelOf(body)
	if err != nil {
		return nil, "", err
	}
	return x.upstreamFor(model)
}

// maxModel bounds what a client can put into logs, and how long patterns are
// matched against it.
const maxModel = 1 << 10

func (x *exchange) upstreamFor(model string) (*Upstream, string, error) {
	if len(model) > maxModel {
		return nil, "", &convert.Error{
			Status: http.StatusBadRequest, Type: "invalid_request_error", Code: "string_above_max_length", Param: "model",
			Message: "Invalid 'model': string too long. Expected a string with maximum length " + strconv.Itoa(maxModel) + ".",
		}
	}
	x.model = model
	x.set("model", model)
	u := x.h.choose(model)
	if u == nil {
		return nil, "", &convert.Error{
			Status: http.StatusNotFound, Type: "invalid_request_error", Code: "model_not_found", Param: "model",
			Message: "The model '" + model + "' does not exist here.",
		}
	}
	alias := u.alias(model)
	return u, alias, x.allowModel(model, alias)
}

// read reads the request and chooses its upstream.
func (x *exchange) read() (body []byte, alias string, err error) {
	if body, err = readBody(x.r, x.h.MaxBody); err != nil {
		return nil, "", err
	}
	in := x.route.in
	if in == "" {
		if in, err = convert.Sniff(body); err != nil {
			return nil, "", err
		}
	}
	out := x.route.out
	if out == "" {
		out = in
	}
	x.up, alias, err = x.upstreamOf(body)
	if err != nil {
		return nil, "", err
	}
	if in == out && in == x.up.Mode && x.route.name != "convert" {
		return body, alias, nil // its bytes go on as they are
	}
	if x.req, err = convert.Read(in, body); err != nil {
		return nil, "", err
	}
	x.req.Out = out
	return body, alias, nil
}

func (x *exchange) options(alias string) (convert.Options, error) {
	sealer := x.h.sealer
	if sealer == nil {
		var err error
		if sealer, err = x.h.app.sealerFor(x.r.Context()); err != nil {
			return convert.Options{}, err
		}
	}
	return convert.Options{
		Dialect: x.up.dialect, Strict: x.h.Strict, Model: alias, Sealer: sealer,
		DropHosted: x.h.HostedTools == "drop", Reasoning: convert.ReasoningForm(x.h.ReasoningEvents),
	}, nil
}

// convert answers with the request in the other API's form.
func (x *exchange) convert() error {
	_, alias, err := x.read()
	if err != nil {
		return err
	}
	o, err := x.options(alias)
	if err != nil {
		return err
	}
	to := convert.Chat
	if x.req.In == convert.Chat {
		to = convert.Responses
	}
	if to != x.up.Mode {
		o.Dialect = nil
	}
	if x.turn, err = x.req.To(to, o); err != nil {
		return err
	}
	x.outcome = "converted"
	x.warn()
	x.w.Header().Set("Content-Type", "application/json")
	x.w.Header().Set("Content-Length", strconv.Itoa(len(x.turn.Body)))
	x.w.Write(x.turn.Body)
	return nil
}

// translate answers a request whose upstream, or whose answer, is of another API,
// or whose upstream depends on its model.
func (x *exchange) translate() error {
	body, alias, err := x.read()
	if err != nil {
		return err
	}
	if x.req == nil {
		x.outcome = "same_api"
		if alias != "" {
			if body, err = convert.SetModel(body, alias); err != nil {
				return err
			}
		}
		return x.direct(x.up, paths[x.up.Mode], body)
	}
	o, err := x.options(alias)
	if err != nil {
		return err
	}
	if x.turn, err = x.req.To(x.up.Mode, o); err != nil {
		return err
	}
	return x.answer()
}

// paths are where an upstream of each API takes requests, below its base.
var paths = map[convert.API]string{convert.Chat: "/chat/completions", convert.Responses: "/responses"}

// answer calls the upstream and translates its answer.
func (x *exchange) answer() error {
	ctx, cancel := context.WithCancel(x.r.Context())
	defer cancel()
	x.cancel = cancel
	x.stream = x.req.Stream()
	x.out = sse.NewWriter(startWriter{x}, http.NewResponseController(x.w).Flush)
	x.write = x.req.Writer(x.out)
	x.resp = &responder{x: x, header: http.Header{}}
	defer x.resp.stop() // also when the upstream's handler panics: a timer must not write any more

	r := x.up.translated(ctx, x.r, paths[x.up.Mode], x.turn.Body, x.stream)
	aborted, err := x.call(r)
	var cause *convert.Error
	if aborted || err != nil {
		cause = broken
	}
	ended := x.resp.finish(cause)
	switch {
	case !ended && (x.gone || x.r.Context().Err() != nil):
		x.outcome = "client_gone"
		if !x.begun {
			x.w.WriteHeader(statusClientGone) // for the access log
		}
		return nil
	case x.resp.streaming:
		return x.streamed()
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

// streamed ends an answer whose upstream streamed.
func (x *exchange) streamed() error {
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
		e := convert.ReadError(w.status, w.body)
		e.Param = x.req.Param(e.Param, x.up.Mode)
		return e
	case w.status < 200 || w.status >= 300:
		x.outcome = "upstream_error"
		return &convert.Error{
			Status: http.StatusBadGateway, Type: "server_error", Code: "bad_upstream_answer",
			Message: "The upstream answered " + strconv.Itoa(w.status) + ", which is not an answer of its API. Is its address, with the path, right?",
		}
	}
	resp, err := x.turn.Answer(w.body)
	if err != nil {
		x.outcome = "upstream_error"
		return err
	}
	if !x.stream {
		return x.writeWhole(resp)
	}
	if err := convert.Replay(resp, x.emit); err != nil {
		return nil // the client has gone
	}
	x.out.Send()
	return nil
}

// writeWhole sends the client its answer in one piece.
func (x *exchange) writeWhole(resp *responses.Response) error {
	x.last = resp
	x.outcome = outcomeOf(resp.Status)
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

// emit takes the events of the answer, in order.
func (x *exchange) emit(e *responses.Event) error {
	if responses.Terminal(e.Type) {
		x.ended = true
		x.last = e.Response
		x.outcome = outcomeOf(e.Response.Status)
		if e.Type == responses.EventFailed {
			x.failure = convert.FailedError(e.Response)
			x.failure.Message = redact(x.failure.Message)
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

// returned are the headers of an upstream that a translated answer takes along.
var returned = []string{
	"Openai-Processing-Ms", "Openai-Version", "Retry-After", "Retry-After-Ms", "X-Request-Id", "X-Should-Retry",
}

const maxReturned = 1 << 10 // bytes of one header

func (x *exchange) copyHeaders() {
	to := x.w.Header()
	for name, values := range x.resp.header {
		lower := strings.ToLower(name)
		if !strings.HasPrefix(lower, "x-ratelimit-") && !slices.Contains(returned, name) {
			continue
		}
		if len(values) > 0 && len(values[0]) <= maxReturned {
			to.Set(name, values[0])
		}
	}
}

// maxWarnings bounds the header of warnings; proxies take 4 KiB or more in all.
const maxWarnings = 2 << 10

// warn says what could not be carried over.
func (x *exchange) warn() {
	if x.turn == nil || len(x.turn.Report) == 0 {
		return
	}
	x.w.Header().Set("X-Chat2Response-Warnings", headerSafe(warnings(x.turn.Report)))
}

func warnings(report convert.Report) string {
	var b strings.Builder
	for i, loss := range report {
		if i > 0 {
			b.WriteString(", ")
		}
		s := loss.String()
		if b.Len()+len(s) > maxWarnings {
			fmt.Fprintf(&b, "and %d more", len(report)-i)
			break
		}
		b.WriteString(s)
	}
	return b.String()
}

// headerSafe replaces what a header value may not have: a client chose the names
// in it.
func headerSafe(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// fail answers with an error, if nothing has been answered.
func (x *exchange) fail(e *convert.Error) {
	if x.outcome == "" {
		x.outcome = "refused"
	}
	x.logFailure(e)
	if x.begun {
		return
	}
	out := *e
	out.Message = redact(out.Message)
	if out.Status < 400 || out.Status > 599 {
		out.Status = http.StatusBadGateway
	}
	x.warn()
	writeError(x.w, &out)
}

// logFailure logs what is an upstream's fault.
func (x *exchange) logFailure(e *convert.Error) {
	if e.Status < 500 {
		return
	}
	fields := []zap.Field{
		zap.String("message", redact(e.Message)), zap.String("code", e.Code), zap.Int("status", e.Status),
		zap.String("outcome", x.outcome), zap.String("model", x.model), zap.Bool("streaming", x.begun),
	}
	if x.cause != nil {
		fields = append(fields, zap.Error(x.cause))
	}
	x.h.logger.Error("upstream failed", fields...)
}

// log adds what is known of the exchange to the access log and the metrics.
func (x *exchange) log() {
	x.count()
	extra, ok := x.r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields)
	if !ok {
		return
	}
	extra.Add(zap.String("chat2response_route", x.route.name))
	if x.outcome != "" {
		extra.Add(zap.String("chat2response_outcome", x.outcome))
	}
	if x.model != "" {
		extra.Add(zap.String("chat2response_model", x.model))
	}
	if x.up != nil {
		extra.Add(zap.String("chat2response_mode", string(x.up.Mode)))
	}
	if x.turn != nil && len(x.turn.Report) > 0 {
		extra.Add(zap.String("chat2response_warnings", warnings(x.turn.Report)))
	}
	if x.req != nil {
		extra.Add(zap.Bool("chat2response_stream", x.stream))
	}
	if x.last != nil && x.last.Usage != nil {
		extra.Add(zap.Int64("chat2response_input_tokens", x.last.Usage.InputTokens))
		extra.Add(zap.Int64("chat2response_output_tokens", x.last.Usage.OutputTokens))
	}
}
