package chat2response

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/convert/responses"
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

	// Of a translated answer:
	stream  bool // the client wants a stream
	write   convert.Emit
	out     *sse.Writer
	resp    *responder
	cancel  context.CancelFunc // of the upstream's request
	begun   bool               // the client's header has been sent
	ended   bool               // the terminal event has been emitted
	last    *responses.Response
	outcome string // for the log and the metrics
	failure *convert.Error
}

// serve answers the request. Errors of type *convert.Error are for the client.
func (x *exchange) serve() error {
	if x.route.method != "" && x.r.Method != x.route.method && !(x.route.method == http.MethodGet && x.r.Method == http.MethodHead) {
		if x.route.in == convert.Responses && isUpgrade(x.r) {
			return noWebSocket
		}
		notAllowed(x.w, x.route.method, x.r.Method)
		return nil
	}
	switch x.route.name {
	case "status":
		return x.status()
	case "passthrough":
		return x.passThrough()
	case "convert":
		return x.convert()
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
func (x *exchange) express() bool {
	return !x.h.byModel() && x.route.in == x.h.Upstreams[0].Mode && x.r.Header.Get("Content-Encoding") == "" &&
		checkMediaType(x.r.Header.Get("Content-Type")) == nil && x.r.ContentLength <= x.h.MaxBody
}

// noWebSocket is the answer to a client that would rather speak WebSocket; Codex
// goes on with POST when it is told 426, and with nothing else.
var noWebSocket = &convert.Error{
	Status: http.StatusUpgradeRequired, Type: "invalid_request_error", Code: "websocket_not_supported",
	Message: "WebSocket is not supported here; use POST with server-sent events.",
}

func isUpgrade(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// direct hands the request to an upstream whose answer goes to the client as it
// is. body replaces the client's, if it is not nil.
func (x *exchange) direct(u *Upstream, path string, body []byte) error {
	x.up = u
	r := u.request(x.r.Context(), x.r, path, body)
	if body == nil && x.r.Body != nil && x.h.MaxBody > 0 && x.route.name != "passthrough" {
		r.Body = http.MaxBytesReader(nil, r.Body, x.h.MaxBody)
	}
	return x.caddyError(u.serve(x.w, r, x.next))
}

// caddyError makes an error of a Caddy handler one for the client.
func (x *exchange) caddyError(err error) error {
	if err == nil {
		return nil
	}
	e := upstreamError(err)
	x.outcome = "upstream_error"
	if e.Status >= 500 {
		x.h.logger.Error("upstream failed", zap.Error(err), zap.String("model", x.model), zap.Int("status", e.Status))
	}
	return e
}

// passThrough hands every other path of the API to the upstream.
func (x *exchange) passThrough() error {
	x.outcome = "passthrough"
	if strings.HasPrefix(x.route.path, "/responses/") && x.h.choose("").Mode == convert.Chat {
		return &convert.Error{
			Status: http.StatusNotFound, Type: "invalid_request_error",
			Message: "There is nothing at '" + x.r.URL.Path + "': the upstream speaks Chat Completions, and this gateway keeps no responses.",
		}
	}
	// A body that names a model goes where the model is, under the name that it has
	// there. Others, such as uploads, go to the first upstream.
	if x.h.byModel() && x.r.Method == http.MethodPost && x.r.Header.Get("Content-Type") != "" && checkMediaType(x.r.Header.Get("Content-Type")) == nil {
		body, err := readBody(x.r, x.h.MaxBody)
		if err != nil {
			return err
		}
		u, name, err := x.upstreamOf(body)
		if err != nil {
			return err
		}
		if name != "" {
			if body, err = convert.SetModel(body, name); err != nil {
				return err
			}
		}
		return x.direct(u, x.route.path, body)
	}
	return x.direct(x.h.choose(""), x.route.path, nil)
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

func (x *exchange) upstreamFor(model string) (*Upstream, string, error) {
	x.model = model
	u := x.h.choose(model)
	if u == nil {
		return nil, "", &convert.Error{
			Status: http.StatusNotFound, Type: "invalid_request_error", Code: "model_not_found", Param: "model",
			Message: "The model '" + model + "' does not exist here.",
		}
	}
	return u, u.alias(model), nil
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
	_, err = x.w.Write(x.turn.Body)
	return err
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
		return x.direct(x.up, x.route.path, body)
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

	r := x.up.translated(ctx, x.r, paths[x.up.Mode], x.turn.Body, x.stream)
	aborted, err := x.call(r)
	cause := broken
	if !aborted && err == nil {
		cause = nil
	}
	x.resp.finish(cause)
	switch {
	case x.r.Context().Err() != nil:
		x.outcome = "client_gone"
		return nil
	case x.resp.streaming:
		return x.streamed()
	case err != nil:
		return x.caddyError(err)
	case aborted:
		x.outcome = "upstream_cut"
		return broken
	}
	return x.whole()
}

// call hands the request to the upstream's handler. reverse_proxy panics with
// ErrAbortHandler when an answer breaks off in the middle: that is how it tells.
func (x *exchange) call(r *http.Request) (aborted bool, err error) {
	defer func() {
		switch e := recover(); e {
		case nil:
		case http.ErrAbortHandler:
			aborted = true
		default:
			panic(e)
		}
	}()
	err = x.up.serve(x.resp, r, x.next)
	return false, err
}

// streamed ends an answer whose upstream streamed.
func (x *exchange) streamed() error {
	if x.failure != nil && !x.begun {
		x.copyHeaders()
		return x.failure
	}
	if x.stream || x.last == nil {
		return nil
	}
	return x.writeWhole(x.last)
}

// whole translates an answer that came in one piece.
func (x *exchange) whole() error {
	w := x.resp
	x.copyHeaders()
	switch {
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
	x.outcome = resp.Status
	body, err := x.req.Write(resp)
	if err != nil {
		return err
	}
	x.copyHeaders()
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
		x.outcome = e.Response.Status
		if e.Type == responses.EventFailed {
			x.failure = convert.FailedError(e.Response)
			x.failure.Message = redact(x.failure.Message)
			if e.Response.Error != nil {
				e.Response.Error.Message = x.failure.Message
			}
			if !x.stream || !x.begun && x.req.Out == convert.Chat {
				return nil // it can still be an HTTP status
			}
		}
	}
	if !x.stream {
		return nil
	}
	return x.write(e)
}

// startWriter is the client's ResponseWriter; it sends the header of a stream
// before the first event.
type startWriter struct{ x *exchange }

func (s startWriter) Write(b []byte) (int, error) {
	x := s.x
	if !x.begun {
		x.begun = true
		x.copyHeaders()
		x.warn()
		header := x.w.Header()
		header.Set("Content-Type", "text/event-stream")
		header.Set("Cache-Control", "no-cache")
		header.Set("X-Accel-Buffering", "no") // nginx in front
		x.w.WriteHeader(http.StatusOK)
	}
	return x.w.Write(b)
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
		if !strings.HasPrefix(lower, "x-ratelimit-") && !contains(returned, name) {
			continue
		}
		if len(values) > 0 && len(values[0]) <= maxReturned {
			to.Set(name, values[0])
		}
	}
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// maxWarnings bounds the header of warnings; proxies take 4 KiB or more in all.
const maxWarnings = 2 << 10

// warn says what could not be carried over.
func (x *exchange) warn() {
	if x.turn == nil || len(x.turn.Report) == 0 {
		return
	}
	text := warnings(x.turn.Report)
	if len(text) > maxWarnings {
		cut := strings.LastIndex(text[:maxWarnings], ", ")
		text = text[:max(cut, 0)] + ", …"
	}
	x.w.Header().Set("X-Chat2Response-Warnings", headerSafe(text))
}

func warnings(report convert.Report) string {
	list := make([]string, len(report))
	for i, loss := range report {
		list[i] = loss.String()
	}
	return strings.Join(list, ", ")
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
