package chat2response

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/keystore"
)

// defaultBase is where an upstream's API is, if nothing is said.
const defaultBase = "/v1"

// Upstream is a server of one of the two APIs, or a group of servers that are
// alike.
type Upstream struct {
	// The models that this upstream serves, as patterns in which * stands for any
	// characters. They are matched against the model that the client names, case
	// included. Default: all.
	Models []string `json:"models,omitempty"`

	// The API that the upstream speaks: `responses` or `chat`. Default: `responses`.
	Mode convert.API `json:"mode,omitempty"`

	// The path under which the upstream's API is. Default: `/v1`.
	BasePath *string `json:"base_path,omitempty"`

	// The key that is sent to the upstream in place of the client's own;
	// placeholders {env.*} and {file.*} are replaced, and an unset one is an error.
	// Default: the client's Authorization header is passed on.
	APIKey string `json:"api_key,omitempty"`

	// Other names under which clients know the upstream's models: the client's name
	// to the upstream's. A client's name may hold one *, for all that begin and end
	// so. Answers have the client's name.
	Aliases map[string]string `json:"aliases,omitempty"`

	// What kind of server the upstream is, for its habits beyond the API: `openai`,
	// `azure`, `vllm`, `ollama`, `llama.cpp`, `mistral`, … Default: `generic`.
	Dialect string `json:"dialect,omitempty"`

	// The handler that the request is given to, normally a reverse_proxy.
	// Default: the next handler of the route.
	HandleRaw json.RawMessage `json:"handle,omitempty" caddy:"namespace=http.handlers inline_key=handler"`

	handler caddyhttp.MiddlewareHandler
	keyed   bool // handler's transport is ours
	replays bool // handler may send a body again, and so wants it read
	managed bool // clients bring keys of the gateway
	base    string
	apiKey  string
	dialect *convert.Dialect
}

func (u *Upstream) provision(ctx caddy.Context) error {
	if u.Mode == "" {
		u.Mode = convert.Responses
	}
	u.base = defaultBase
	if u.BasePath != nil {
		u.base = strings.TrimRight(*u.BasePath, "/")
	}
	if u.Dialect == "" {
		u.Dialect = "generic"
	}
	u.dialect = convert.Dialects[u.Dialect]
	if u.APIKey != "" {
		key, err := caddy.NewReplacer().ReplaceOrErr(u.APIKey, true, true)
		if err != nil {
			return fmt.Errorf("api_key: %w", err)
		}
		u.apiKey = key
	}
	if u.HandleRaw != nil {
		var err error
		if u.HandleRaw, u.keyed, err = withTransport(u.HandleRaw); err != nil {
			return fmt.Errorf("the handler: %w", err)
		}
		mod, err := ctx.LoadModule(u, "HandleRaw")
		if err != nil {
			return fmt.Errorf("loading the handler: %w", err)
		}
		u.handler = mod.(caddyhttp.MiddlewareHandler)
		if proxy, ok := mod.(*reverseproxy.Handler); ok {
			u.replays = proxy.RequestBuffers == 0 && proxy.LoadBalancing != nil && len(proxy.LoadBalancing.RetryMatch) > 0
		}
	}
	return nil
}

func (u *Upstream) validate() error {
	if u.Mode != convert.Chat && u.Mode != convert.Responses {
		return fmt.Errorf("mode is %q, and must be chat or responses", u.Mode)
	}
	if u.dialect == nil {
		return fmt.Errorf("dialect is %q, and must be one of %s", u.Dialect, strings.Join(convert.DialectNames(), ", "))
	}
	if u.base != "" && u.base[0] != '/' {
		return fmt.Errorf("base_path is %q, and must begin with a slash", u.base)
	}
	for alias := range u.Aliases {
		if strings.Count(alias, "*") > 1 {
			return fmt.Errorf("alias %q has more than one *", alias)
		}
	}
	if strings.ContainsAny(u.apiKey, "\r\n") {
		return fmt.Errorf("api_key has a line end in it")
	}
	return nil
}

// serves tells whether the upstream serves a model.
func (u *Upstream) serves(model string) bool {
	if len(u.Models) == 0 {
		return true
	}
	for _, pattern := range u.Models {
		if matches(pattern, model) {
			return true
		}
	}
	return false
}

// matches tells whether a name fits a pattern in which * stands for any
// characters, slashes included, as model names have them.
func matches(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	name, ok := strings.CutPrefix(name, parts[0])
	if !ok || len(parts) == 1 {
		return ok && name == ""
	}
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		if _, name, ok = strings.Cut(name, part); !ok {
			return false
		}
	}
	return strings.HasSuffix(name, last)
}

// alias is the upstream's name for a model that it knows under another, or "".
// An exact alias is preferred, then the longest pattern.
func (u *Upstream) alias(model string) string {
	if name, ok := u.Aliases[model]; ok {
		return name
	}
	best, found := "", ""
	for pattern, name := range u.Aliases {
		if strings.Contains(pattern, "*") && matches(pattern, model) && (len(pattern) > len(best) || len(pattern) == len(best) && pattern > best) {
			best, found = pattern, name
		}
	}
	return found
}

// choose is the upstream for a model; without one, the one for all models, else
// the first.
func (h *Handler) choose(model string) *Upstream {
	for _, u := range h.Upstreams {
		if u.serves(model) {
			return u
		}
	}
	if model == "" {
		return h.Upstreams[0]
	}
	return nil
}

// first is the first upstream that speaks an API, or nil.
func (h *Handler) first(api convert.API) *Upstream {
	for _, u := range h.Upstreams {
		if u.Mode == api {
			return u
		}
	}
	return nil
}

// byModel tells whether the model of a request matters: which upstream it goes
// to, or what the model is called there.
func (h *Handler) byModel() bool {
	return len(h.Upstreams) > 1 || len(h.Upstreams[0].Models) > 0 || len(h.Upstreams[0].Aliases) > 0
}

// forwarded are the headers of a client that a translated request takes along.
// Everything else concerns only the two ends of the client's connection, or is
// not the upstream's business.
var forwarded = []string{
	"Accept-Language", "Idempotency-Key", "Openai-Beta", "Openai-Organization", "Openai-Project",
	"Traceparent", "Tracestate", "User-Agent", "X-Client-Request-Id", "X-Request-Id",
	"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", // reverse_proxy believes only a trusted proxy
}

// request is the client's request turned into one for the upstream: with body, if
// it is not nil, else with the client's own, untouched. owner is the client.
func (u *Upstream) request(ctx context.Context, r *http.Request, path string, body []byte, owner func() string) *http.Request {
	out := u.addressed(ctx, r, path)
	out.Header = r.Header.Clone()
	out.Header.Del("Incremental") // Caddy answers 501 to it when it buffers the request (RFC 10036)
	if !isUpgrade(r) {
		out.Header.Del("Connection") // it names headers to be dropped on the way (RFC 9110, 7.6.1): those of this request are ours
	}
	if body != nil {
		setBody(out, body)
		out.Header.Del("Content-Encoding")
	} else if r.Body != nil {
		out.Body = &clientBody{ReadCloser: r.Body}
	}
	u.authorize(out.Header, owner)
	return out
}

// clientBody is a client's body that goes to the upstream as it comes. That it breaks
// off is not the upstream's failure, so it must not look like one to reverse_proxy, which
// would leave a healthy upstream alone for a while.
type clientBody struct {
	io.ReadCloser
	over atomic.Pointer[http.MaxBytesError] // it is larger than Caddy's request_body directive lets it be
}

func (b *clientBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		var over *http.MaxBytesError
		if errors.As(err, &over) {
			b.over.Store(over)
		}
		err = clientGone{err}
	}
	return n, err
}

// clientGone is an error of reading from the client. It is a context.Canceled, by
// which reverse_proxy knows it.
type clientGone struct{ error }

func (clientGone) Is(err error) bool { return err == context.Canceled }
func (e clientGone) Unwrap() error   { return e.error }

// addressed is a copy of the client's request that goes to a path of the upstream.
// It shares the client's header, which must not be changed.
func (u *Upstream) addressed(ctx context.Context, r *http.Request, path string) *http.Request {
	out := r.WithContext(ctx)
	to := *r.URL
	to.Path, to.RawPath = u.base+path, ""
	out.URL, out.RequestURI = &to, ""
	return out
}

// setBody gives a request a body. Its header must be its own.
func setBody(r *http.Request, body []byte) {
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.ContentLength = int64(len(body))
	r.TransferEncoding, r.Trailer = nil, nil
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
}

// translated is a request of another API than the client's: its headers are few,
// and its query is the client's API's own.
func (u *Upstream) translated(ctx context.Context, r *http.Request, path string, body []byte, stream bool, owner func() string) *http.Request {
	out := u.addressed(ctx, r, path)
	header := make(http.Header, 8)
	for _, name := range forwarded {
		if v := r.Header[name]; len(v) > 0 {
			header[name] = v
		}
	}
	if v := r.Header.Get("Authorization"); v != "" {
		header.Set("Authorization", v)
	}
	if v := r.Header.Get("Api-Key"); v != "" { // Azure's
		header.Set("Api-Key", v)
	}
	header.Set("Content-Type", "application/json")
	header.Set("Accept", "application/json")
	if stream {
		header.Set("Accept", "text/event-stream")
	}
	u.authorize(header, owner)
	out.Header = header
	setBody(out, body)
	out.Method = http.MethodPost
	out.URL.RawQuery = ""
	if r.URL.RawQuery != "" {
		if v := r.URL.Query().Get("api-version"); v != "" { // Azure's
			out.URL.RawQuery = url.Values{"api-version": {v}}.Encode()
		}
	}
	return out
}

// credentials are the headers in which clients send a key.
var credentials = []string{"Authorization", "Api-Key", "X-Api-Key", "Cookie", "Proxy-Authorization"}

// shared reports whether the account at the upstream is the operator's, which clients
// share, and not the client's own.
func (u *Upstream) shared() bool { return u.managed || u.apiKey != "" }

// authorize puts the upstream's key in the place of the client's. Without a key
// of the upstream the client's own goes on, unless it is one of the gateway's.
//
// Where the account is the operator's, so is the choice of its organization and
// project; and what one client calls a request must not be what another calls his.
func (u *Upstream) authorize(header http.Header, owner func() string) {
	for _, name := range credentials {
		if u.shared() || isToken(header.Get(name)) {
			header.Del(name)
		}
	}
	if u.shared() {
		header.Del("Openai-Organization")
		header.Del("Openai-Project")
		if key := header.Get("Idempotency-Key"); key != "" {
			sum := sha256.Sum256([]byte("chat2response idempotency\x00" + owner() + "\x00" + key))
			header.Set("Idempotency-Key", "c2r-"+hex.EncodeToString(sum[:16]))
		}
	}
	if u.apiKey == "" {
		return
	}
	switch {
	case u.Dialect != "azure":
		header.Set("Authorization", "Bearer "+u.apiKey)
	case u.keyed:
		header.Set("Authorization", apiKeyScheme+u.apiKey)
	default:
		header.Set("Api-Key", u.apiKey)
	}
}

// apiKeyScheme marks an Authorization that transport sends as Api-Key.
const apiKeyScheme = "Api-Key "

// Transport is reverse_proxy's for HTTP with two things that it has not. It takes that one's place by itself, when an
// upstream is set up.
//
// It sends Azure's header, which is not in the request that reverse_proxy sees: it logs
// requests, and of credentials it knows Authorization only.
//
// A body that was read here is sent whole at each attempt. reverse_proxy itself would
// keep a copy of each body for that (request_buffers), on nobody's account.
type Transport struct{ reverseproxy.HTTPTransport }

// CaddyModule returns the Caddy module information.
func (Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.chat2response",
		New: func() caddy.Module { return new(Transport) },
	}
}

// withTransport has a reverse_proxy whose transport is that of HTTP use [Transport] in its place, and reports whether it
// does. It is done before the proxy is provisioned, which begins to use its transport at once.
func withTransport(handler json.RawMessage) (json.RawMessage, bool, error) {
	var config map[string]json.RawMessage
	if err := json.Unmarshal(handler, &config); err != nil {
		return nil, false, err
	}
	if string(config["handler"]) != `"reverse_proxy"` {
		return handler, false, nil
	}
	settings := map[string]json.RawMessage{}
	if raw := config["transport"]; raw != nil {
		if err := json.Unmarshal(raw, &settings); err != nil {
			return nil, false, fmt.Errorf("transport: %w", err)
		}
		if string(settings["protocol"]) != `"http"` {
			return handler, false, nil
		}
	}
	settings["protocol"] = json.RawMessage(`"chat2response"`)
	config["transport"] = caddyconfig.JSON(settings, nil)
	return caddyconfig.JSON(config, nil), true, nil
}

// RoundTrip sends a request.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if key, ok := strings.CutPrefix(r.Header.Get("Authorization"), apiKeyScheme); ok {
		r = r.Clone(r.Context())
		r.Header.Del("Authorization")
		r.Header.Set("Api-Key", key)
	}
	if r.GetBody != nil && r.Body != nil {
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		r.Body = body
	}
	return t.HTTPTransport.RoundTrip(r)
}

var tokens = regexp.MustCompile(keystore.TokenPattern)

// isToken tells whether a header holds a key of the gateway.
func isToken(value string) bool {
	return strings.Contains(value, "sk_") && tokens.MatchString(value)
}

// serve hands a request to the upstream.
func (u *Upstream) serve(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if u.handler == nil {
		return next.ServeHTTP(w, r)
	}
	return u.handler.ServeHTTP(w, r, next)
}
