package chat2response

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/internal/account"
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

	key     *keystore.Key   // the client's
	keyed   context.Context // until that ends before its time; nil without one
	sealing *sealing        // of the upstream's ids, nil if they go as they are
	memory  *memory         // what is continued and kept, nil if nothing
	work    *work           // of a background response: what it is made for
	leaves  []func()        // give back what admit has taken

	body   *account.Claim // of memory for the request's body, until the upstream begins to answer
	opened *account.Claim // for what the translation has unpacked
	held   *account.Claim // for all else, until the end

	accepted bool // an upstream has answered the client

	loop *loop          // runs the gateway's tools; nil without any
	sent []chat.Message // a Chat client's messages, as it has sent them
	same bool           // the upstream speaks the client's API

	// Of a translated answer:
	stream  bool // the client wants a stream
	write   convert.Emit
	out     *sse.Writer
	resp    *responder
	cancel  context.CancelFunc // of the upstream's request
	begun   bool               // the client's header has been sent
	ended   bool               // the upstream's terminal event has come
	told    bool               // the client's has been emitted
	gone    bool               // writing to the client has failed
	last    *responses.Response
	failure *convert.Error // the answer failed
	cause   error          // what Caddy said of it
	outcome string         // for the log and the metrics
	lost    *convert.Error // the race for its conversation, or its summary
	unkept  bool           // the answer was to be stored and could not be

	compacts  bool             // the upstream's answer is a summary, for a compaction item
	compactOf []responses.Item // what /responses/compact is asked to compact
}

// set sets a placeholder of the request.
func (x *exchange) set(name, value string) {
	repl := x.r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	repl.Set("http.chat2response."+name, headerSafe(value)) // it may be meant for a header
}

// serve answers the request. Errors of type *convert.Error are for the client.
func (x *exchange) serve() error {
	if p, ids, methods := x.storedRoute(); p != nil {
		return x.stored(p, ids)
	} else if methods != nil {
		return notAllowed(x.w, methods, x.r.Method)
	}
	if len(x.route.methods) > 0 && !slices.Contains(x.route.methods, x.r.Method) {
		if x.route.in == convert.Responses && isUpgrade(x.r) {
			return noWebSocket
		}
		return notAllowed(x.w, x.route.methods, x.r.Method)
	}
	switch x.route.name {
	case "none":
		return x.notHere()
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
	if x.isCount() {
		return x.countTokens()
	}
	if x.isCompact() {
		return x.compact()
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
// A body of unknown length is read first, so that one that is too large is refused
// before the upstream sees any of it; so is one that may have to be sent again.
func (x *exchange) express() bool {
	length := x.r.ContentLength
	return !x.byModel() && !x.h.Upstreams[0].replays && (x.r.Header.Get("Content-Type") != "" || !isForeign(x.r)) && !x.mayUse() && !x.readsAlways(x.route.in) && !(x.route.in == convert.Responses && x.h.State.seals(x.h.Upstreams[0])) && x.route.in == x.h.Upstreams[0].Mode && x.r.Header.Get("Content-Encoding") == "" &&
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
	r := u.request(x.r.Context(), x.r, path, body, x.owner)
	if x.route.name == "passthrough" {
		// A slash in a model's name stays %2F. Go uses this only where it is an
		// encoding of the path.
		r.URL.RawPath = u.base + strings.TrimPrefix(x.r.URL.RawPath, "/v1")
	}
	if api := x.route.in; x.route.name == "proxy" || api != "" {
		if api == "" {
			api = u.Mode // it is the client's, since the answer passes unread
		}
		return x.watched(r, api)
	}
	return x.relayed(r)
}

// caddyError makes an error of a Caddy handler one for the client.
func (x *exchange) caddyError(err error) error {
	if err == nil {
		return nil
	}
	x.outcome, x.cause = "upstream_error", err
	return upstreamError(err)
}

// passedMethods are those of OpenAI's API and of browsers; TRACE would show the
// upstream's key, and CONNECT is none of a path.
var passedMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

// passThrough hands every other path of the API to the upstream.
func (x *exchange) passThrough() error {
	x.outcome = "passthrough"
	if !slices.Contains(passedMethods, x.r.Method) {
		x.outcome = ""
		return notAllowed(x.w, passedMethods, x.r.Method)
	}
	u := x.h.choose("")
	conversations := strings.HasPrefix(x.route.path+"/", "/conversations/")
	stored := conversations || strings.HasPrefix(x.route.path, "/responses/")
	if stored && u.Mode == convert.Chat {
		if u = x.h.first(convert.Responses); u == nil {
			return x.noSuchPath()
		}
	}
	if x.key != nil && x.key.Models != nil && !x.route.readsModel(x.r) {
		return x.keyError(keystore.ErrModelNotAllowed)
	}
	if stored && x.h.State.seals(u) {
		return x.passSealed(u)
	}
	// A body that names a model goes where the model is, under the name that it has
	// there. Others, such as uploads, go to the first upstream.
	noModel := conversations || strings.HasSuffix(x.route.path, "/cancel")
	if x.byModel() && !noModel && x.r.Method == http.MethodPost && x.r.Header.Get("Content-Type") != "" && checkMediaType(x.r.Header.Get("Content-Type")) == nil {
		body, err := x.readBody()
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
	return x.direct(u, x.route.path, nil)
}

// notHere is the answer to a path that must not be guessed at.
func (x *exchange) notHere() error {
	x.outcome = "not_found"
	return &convert.Error{
		Status: http.StatusNotFound, Type: "invalid_request_error", Code: "unknown_url",
		Message: "Invalid URL (" + x.r.Method + " " + x.r.URL.Path + "). Write the paths of the API as they are documented, such as /v1/responses.",
	}
}

func (x *exchange) noSuchPath() error {
	why := "the upstream speaks Chat Completions, which does not have it."
	if !x.h.State.on() {
		why = "the upstream speaks Chat Completions, and this gateway keeps no responses (state off)."
	}
	return &convert.Error{Status: http.StatusNotFound, Type: "invalid_request_error", Message: "There is nothing at '" + x.r.URL.Path + "': " + why}
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

// read reads the request and chooses its upstream. The body is given back where it
// is to go on as it came.
func (x *exchange) read() (body []byte, alias string, err error) {
	if body, err = x.readBody(); err != nil {
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
	// Where an upstream speaks the client's API, its bytes may go on as they are,
	// and only their model is read.
	if in == out && x.route.name != "convert" && x.h.first(in) != nil {
		if x.up, alias, err = x.upstreamOf(body); err != nil {
			return nil, "", err
		}
		x.same = x.up.Mode == in
		if x.h.State.seals(x.up) {
			if body, err = x.unseal(body); err != nil {
				return nil, "", err
			}
		}
		if x.same && !x.wantsTools(body) && !x.readsAlways(in) {
			return body, alias, nil
		}
	}
	if x.req, err = convert.Read(in, body); err != nil {
		return nil, "", err
	}
	x.req.Out = out
	if x.up == nil {
		x.up, alias, err = x.upstreamFor(x.req.Model())
	}
	if err == nil && (out == convert.Responses || x.namesConversation()) && x.route.name != "convert" && x.h.State.seals(x.up) {
		err = x.sealed(out == convert.Responses)
	}
	if !x.same {
		body = nil
	}
	return body, alias, err
}

func (x *exchange) options(alias string) (convert.Options, error) {
	sealer := x.h.sealer
	if sealer == nil {
		var err error
		if sealer, err = x.h.app.sealerFor(x.r.Context()); err != nil {
			return convert.Options{}, err
		}
	}
	owner := x.owner()
	if x.key == nil && x.h.managed() {
		owner = "nobody" // to whom nothing is sealed: /convert opens nothing without the key that it was sealed for
	}
	return convert.Options{
		Dialect: x.up.dialect, Strict: x.h.Strict, Model: alias, Sealer: sealer.For(owner), Unpack: x.unpack, Hold: x.hold,
		HideID:     x.h.State.seals(x.up),
		Stored:     x.memory != nil && x.memory.save,
		DropHosted: x.h.HostedTools == "drop", Reasoning: convert.ReasoningForm(x.h.ReasoningEvents),
	}, nil
}

// convert answers with the request in the other API's form.
func (x *exchange) convert() error {
	if err := x.admitAside(x.h.Convert); err != nil {
		return err
	}
	_, alias, err := x.read()
	if err != nil {
		return err
	}
	done, err := x.takePlace()
	if err != nil {
		return err
	}
	defer done()
	if err := x.recall(); err != nil {
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
	if x.turn, err = x.to(to, o); err != nil {
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
	if x.req != nil {
		if err := x.recall(); err != nil {
			return err
		}
		if err := x.withTools(); err != nil {
			return err
		}
	}
	if x.same && x.loop == nil && (x.req == nil || !x.stateful()) {
		x.req, x.outcome = nil, "same_api"
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
	if x.background() {
		return x.detach(o)
	}
	return x.answerWith(o)
}

// to translates the request. What an earlier translation has unpacked is not held any more.
func (x *exchange) to(api convert.API, o convert.Options) (*convert.Turn, error) {
	x.opened.Free()
	turn, err := x.req.To(api, o)
	x.busy(err)
	return turn, err
}

// unpack counts what a translation unpacks, until the next one or the end.
func (x *exchange) unpack(bytes int64) error {
	if x.opened == nil {
		x.opened = x.claim()
	}
	if x.opened.Grow(bytes) != nil {
		return errBusy
	}
	return nil
}

// answerWith translates the request and answers it.
func (x *exchange) answerWith(o convert.Options) (err error) {
	if x.loop != nil {
		o.Carry = true
		x.loop.options = o
		return x.answer()
	}
	x.compacts = x.req.Compacts() && x.up.Mode == convert.Chat
	if x.turn, err = x.to(x.up.Mode, o); err != nil {
		return err
	}
	return x.answer()
}
