// Package chat2response is a Caddy HTTP handler that stands between clients and
// servers of OpenAI's two APIs, Chat Completions and Responses: a client of
// either is served by an upstream of either, streaming included.
package chat2response

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/labiium/chat2response/convert"
)

func init() {
	caddy.RegisterModule(Handler{})
	caddy.RegisterModule(Transport{})
}

// Defaults of [Handler].
const (
	defaultMaxBody   = 32 << 20
	defaultMaxBodies = 256 << 20
	defaultKeepAlive = 15 * time.Second
)

// Handler serves OpenAI's Chat Completions and Responses APIs from upstreams of
// either.
//
// It answers these paths, with and without /v1 in front:
//
//	POST /v1/chat/completions   Chat Completions
//	POST /v1/responses          Responses
//	POST /proxy                 either body; always answers as Responses
//	POST /convert               either body; answers the other API's request
//	GET  /status                what runs here
//	     /v1/…                  everything else goes to the upstream, untouched
//
// Other requests go to the next handler; where that is the upstream and clients need keys, they are answered 404.
//
// It sets these placeholders:
//
// Placeholder | Description
// ------------|---------------
// `{http.chat2response.model}` | The model that the client asked for; empty where the body goes through unread
// `{http.chat2response.route}` | `chat`, `responses`, `proxy`, `convert`, `status`, `keys`, `stored`, `chats`, `passthrough`, or `none` for what is not there
type Handler struct {
	// The servers that answer. The first whose models match the request's is used;
	// one without models matches every request. Without any, the next handler is
	// the upstream, and speaks Responses.
	Upstreams []*Upstream `json:"upstreams,omitempty"`

	// Refuse requests with members that cannot be carried over to the upstream's
	// API, instead of leaving them out and saying so in the header
	// X-Chat2Response-Warnings. Default: false.
	Strict bool `json:"strict,omitempty"`

	// The largest request body in bytes, after decompression. Larger ones are
	// answered 413. Default: 33554432 (32 MiB).
	MaxBody int64 `json:"max_body,omitempty"`

	// How many bytes all requests of this process may hold together: bodies as they
	// arrive, until their upstreams begin to answer; and to the end what is opened of
	// encrypted_content, what a request continues, and answers that are kept whole. One
	// client, by its key or its address, may have most of it, and all who show no key
	// where keys are asked an eighth. What would be more is answered 503. Bodies on the
	// express lane are not kept and do not count. Translating a body takes three to four
	// times its size, which does not count either. Default: 268435456 (256 MiB).
	MaxBodies int64 `json:"max_bodies,omitempty"`

	// How a Responses client sees the reasoning of a Chat upstream: `summary`
	// (reasoning_summary_text events, which every client shows), `text`
	// (reasoning_text events), or `off`. Default: `summary`.
	ReasoningEvents string `json:"reasoning_events,omitempty"`

	// What becomes of tools that run at OpenAI and that a Chat upstream cannot
	// have (file_search, code_interpreter, image_generation, computer, mcp):
	// `refuse` answers 400, `drop` leaves them out and says so. Web search is
	// always left out. Default: `refuse`.
	HostedTools string `json:"hosted_tools,omitempty"`

	// The secret under which reasoning is sealed into encrypted_content for clients
	// that carry it themselves, at least 16 bytes; placeholders {env.*} and {file.*}
	// are replaced. Gateways that serve the same clients need the same one.
	// Default: one that is made once and kept in Caddy's storage.
	SealKey string `json:"seal_key,omitempty"`

	// After how much silence of an upstream a comment is sent to the client of a
	// translated stream, so that nothing between takes the connection for dead.
	// Negative: never. Default: 15s.
	KeepAlive caddy.Duration `json:"keep_alive,omitempty"`

	// The gateway's own API keys, which it asks of its clients. Default: none, and
	// then clients bring the upstream's.
	Keys *Keys `json:"keys,omitempty"`

	// What the gateway remembers: responses, conversations, chat completions.
	// Default: what Chat upstreams answer to clients of Responses, where the keys are
	// or else in memory.
	State *State `json:"state,omitempty"`

	// Serve requests without a key of this gateway although an upstream has an
	// api_key: whoever reaches the site spends it. Default: false.
	AllowAnonymous bool `json:"allow_anonymous,omitempty"`

	// Who may ask /convert, which translates a request and asks no model: `open` is
	// everybody, `keys` whoever has a key of this gateway, `off` nobody. Where clients
	// have keys, all who show none share a rate and an eighth of max_bodies.
	// Default: `open`.
	Convert string `json:"convert,omitempty"`

	// Who may ask /status, in the same words. Default: `open`.
	Status string `json:"status,omitempty"`

	// Servers of the Model Context Protocol whose tools the upstream's model may call,
	// and which are run here. Default: none.
	MCP *MCP `json:"mcp,omitempty"`

	app    *App
	sealer *convert.Sealer // under SealKey, if there is one
	guards bool            // what a path means must be certain: see routeOf
	warned *sync.Once      // that anybody spends the upstream's key
	logger *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.chat2response",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision sets up the handler and its upstreams. It opens nothing.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger, h.warned = ctx.Logger(), new(sync.Once)
	if h.MaxBody == 0 {
		h.MaxBody = defaultMaxBody
	}
	if h.MaxBodies == 0 {
		h.MaxBodies = defaultMaxBodies
	}
	if h.KeepAlive == 0 {
		h.KeepAlive = caddy.Duration(defaultKeepAlive)
	}
	if len(h.Upstreams) == 0 {
		h.Upstreams = []*Upstream{{}}
	}
	for i, u := range h.Upstreams {
		if u == nil {
			return fmt.Errorf("upstream %d is null", i)
		}
		if err := u.provision(ctx); err != nil {
			return fmt.Errorf("upstream %d: %w", i, err)
		}
		u.managed = h.managed()
	}
	if h.SealKey != "" {
		secret, err := caddy.NewReplacer().ReplaceOrErr(h.SealKey, true, true)
		if err != nil {
			return fmt.Errorf("seal_key: %w", err)
		}
		if h.sealer, err = convert.NewSealer([]byte(secret)); err != nil {
			return fmt.Errorf("seal_key: %w", err)
		}
	}
	app, err := ctx.App("chat2response")
	if err != nil {
		return err
	}
	h.app = app.(*App)
	if h.sealer == nil {
		h.app.needSealer = true
	}
	if h.State == nil {
		h.State = new(State)
	}
	if err := h.State.provision(ctx, h.app, h.Keys.stateStore()); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if h.Keys != nil {
		if err := h.Keys.provision(ctx, h.app); err != nil {
			return fmt.Errorf("keys: %w", err)
		}
	}
	if h.MCP != nil {
		if err := h.MCP.provision(ctx, h.app); err != nil {
			return fmt.Errorf("mcp: %w", err)
		}
	}
	h.guards = h.managed() || slices.ContainsFunc(h.Upstreams, h.State.seals)
	return registerMetrics(ctx.GetMetricsRegistry())
}

// Validate checks the configuration.
func (h *Handler) Validate() error {
	if h.MaxBody < 0 {
		return fmt.Errorf("max_body is %d, and must be positive", h.MaxBody)
	}
	if h.MaxBodies < 0 {
		return fmt.Errorf("max_bodies is %d, and must be positive", h.MaxBodies)
	}
	switch convert.ReasoningForm(h.ReasoningEvents) {
	case "", convert.ReasoningSummary, convert.ReasoningText, convert.ReasoningOff:
	default:
		return fmt.Errorf("reasoning_events is %q, and must be summary, text or off", h.ReasoningEvents)
	}
	if h.HostedTools != "" && h.HostedTools != "refuse" && h.HostedTools != "drop" {
		return fmt.Errorf("hosted_tools is %q, and must be refuse or drop", h.HostedTools)
	}
	if err := errors.Join(h.checkAccess("convert", h.Convert), h.checkAccess("status", h.Status)); err != nil {
		return err
	}
	if err := h.State.validate(); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if h.MCP != nil {
		if err := h.MCP.validate(); err != nil {
			return fmt.Errorf("mcp: %w", err)
		}
	}
	for i, u := range h.Upstreams {
		if err := u.validate(); err != nil {
			return fmt.Errorf("upstream %d: %w", i, err)
		}
		if u.apiKey != "" && h.Keys != nil && h.Keys.Passthrough {
			return fmt.Errorf("upstream %d has an api_key, and keys passthrough lets clients bring their own: remove one of them", i)
		}
		if u.apiKey != "" && h.Keys == nil && !h.AllowAnonymous {
			return fmt.Errorf("upstream %d has an api_key, and this handler asks its clients for none: whoever reaches the site would spend it. Configure keys; or set allow_anonymous if that is meant; or leave api_key out to pass the clients' own keys on", i)
		}
		if len(u.Models) == 0 && i < len(h.Upstreams)-1 {
			return fmt.Errorf("upstream %d matches every model, so those behind it are never used", i)
		}
	}
	return nil
}

// ServeHTTP answers OpenAI's paths and hands all others to next.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	rt, ok := h.routeOf(r.URL)
	if !ok {
		return next.ServeHTTP(w, r)
	}
	h.warnOfAnonymous(r)
	x := &exchange{h: h, w: w, r: r, next: next, route: rt}
	x.set("route", rt.name)
	x.set("model", "")
	defer x.leave()
	defer x.log() // also when a panic of the upstream's handler goes through
	err := x.serve()
	var failure *convert.Error
	if errors.As(err, &failure) {
		x.fail(failure)
		return nil
	}
	return err
}

// warnOfAnonymous says once that other machines spend the operator's key. Only a request shows it: what a site listens on
// is not known to its handlers, and its address in a Caddyfile is no more than the host that a client names (A1).
func (h *Handler) warnOfAnonymous(r *http.Request) {
	if !h.AllowAnonymous || h.Keys != nil {
		return
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || peer.Addr().Unmap().IsLoopback() || !slices.ContainsFunc(h.Upstreams, (*Upstream).shared) {
		return
	}
	h.warned.Do(func() {
		h.logger.Warn("allow_anonymous: another machine uses the upstream's api_key; bind the site to 127.0.0.1, or configure keys, unless that is meant",
			zap.String("remote_ip", peer.Addr().String()))
	})
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
