package chat2response

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/keystore"
)

// route is what a path asks for.
type route struct {
	name    string
	path    string      // below the API's base, for the upstream
	methods []string    // empty: all
	in      convert.API // of the request; empty: told by its body
	out     convert.API // of the answer; empty: that of the request
}

var (
	post = []string{http.MethodPost}
	get  = []string{http.MethodGet, http.MethodHead}
)

// routes are the paths that are answered here.
var routes = map[string]route{
	"/chat/completions": {name: "chat", methods: post, in: convert.Chat},
	"/responses":        {name: "responses", methods: post, in: convert.Responses},
	"/proxy":            {name: "proxy", methods: post, out: convert.Responses},
	"/convert":          {name: "convert", methods: post},
	"/status":           {name: "status", methods: get},
}

// resources are the first elements of the other paths of OpenAI's API, which are
// passed on without /v1 too.
var resources = []string{
	"audio", "batches", "chat", "completions", "containers", "conversations", "embeddings", "evals", "files",
	"fine_tuning", "images", "models", "moderations", "rerank", "responses", "tokenize", "uploads", "vector_stores", "videos",
}

// nothing is the route of what is refused as not being there.
var nothing = route{name: "none"}

// routeOf is the route of a URL's path, and whether it is answered here.
//
// Where clients have keys of this gateway, or ids are sealed, what a path means here and what its upstream takes it for
// must be the same. So a path that can be read in two ways, for it has empty elements, dots, or what is or stays encoded,
// is nothing, and so is one of the API's in capitals.
func (h *Handler) routeOf(u *url.URL) (route, bool) {
	if h.guards && (!isPlain(u.Path) || !isPlainlyWritten(u)) {
		return nothing, true
	}
	if lower := strings.ToLower(u.Path); h.guards && lower != u.Path {
		if _, api := h.knownRoute(lower); api && !hasPlainName(u.Path) {
			return nothing, true
		}
	}
	rt, ok := h.knownRoute(u.Path)
	if !ok && h.managed() && h.nextIsUpstream() {
		return nothing, true // the next handler is no way around the keys
	}
	return rt, ok
}

// hasPlainName reports whether a path has no capitals where the API has names: elsewhere are ids.
func hasPlainName(path string) bool {
	first, rest, _ := strings.Cut(strings.Trim(path, "/"), "/")
	if second, _, _ := strings.Cut(rest, "/"); first == "v1" {
		first = second
	}
	return strings.ToLower(first) == first
}

// isPlainlyWritten reports whether no slash of a path is written as %2F, but in the name of a model.
func isPlainlyWritten(u *url.URL) bool {
	return u.RawPath == "" || !strings.Contains(strings.ToLower(u.RawPath), "%2f") ||
		strings.HasPrefix(strings.TrimPrefix(u.RawPath, "/v1"), "/models/")
}

// managed reports whether clients need a key of this gateway.
func (h *Handler) managed() bool { return h.Keys != nil && !h.Keys.Passthrough }

// nextIsUpstream reports whether some upstream is the handler behind this one.
func (h *Handler) nextIsUpstream() bool {
	return slices.ContainsFunc(h.Upstreams, func(u *Upstream) bool { return u.HandleRaw == nil && u.handler == nil })
}

// isPlain reports whether a decoded path can be read in one way only.
func isPlain(path string) bool {
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "\\") || strings.ContainsFunc(path, unicode.IsControl) ||
		encoded.MatchString(path) {
		return false
	}
	elements := strings.Split(strings.TrimSuffix(path[1:], "/"), "/")
	for _, e := range elements {
		name, _, _ := strings.Cut(e, ";") // a parameter, of which servlet containers know
		if e == "" && len(elements) > 1 || name == "." || name == ".." {
			return false
		}
	}
	return true
}

// encoded is what is still encoded in a path that was decoded, and that a server which decodes twice takes for a
// slash, a dot or an end.
var encoded = regexp.MustCompile(`(?i)%(2f|2e|5c|25|00)`)

// knownRoute is the route of a path, with /keys where there are keys.
func (h *Handler) knownRoute(path string) (route, bool) {
	below, ok := strings.CutPrefix("/"+strings.Trim(path, "/"), "/keys")
	if methods, known := keyRoutes[below]; ok && known && h.Keys != nil && !h.Keys.NoEndpoints {
		return route{name: "keys", path: below, methods: methods}, true
	}
	rt, ok := apiRoute(path)
	if ok && (rt.name == "convert" && h.Convert == accessOff || rt.name == "status" && h.Status == accessOff) {
		return route{}, false
	}
	return rt, ok
}

func apiRoute(path string) (route, bool) {
	// No way out of the API into the rest of the upstream's host, which the
	// upstream's key might open.
	if slices.Contains(strings.Split(path, "/"), "..") {
		return route{}, false
	}
	below, v1 := strings.CutPrefix(path, "/v1")
	if v1 && below != "" && below[0] != '/' {
		return route{}, false
	}
	clean := "/" + strings.Trim(below, "/")
	if rt, ok := routes[clean]; ok {
		rt.path = clean
		return rt, true
	}
	first, _, _ := strings.Cut(clean[1:], "/")
	if clean != "/" && (v1 || slices.Contains(resources, first)) {
		return route{name: "passthrough", path: below}, true
	}
	return route{}, false
}

// scopes are what a key needs for each route but passthrough.
var scopes = map[string]string{
	"chat":      keystore.ScopeChat,
	"responses": keystore.ScopeResponses,
	"proxy":     keystore.ScopeResponses,
	"convert":   keystore.ScopeConvert,
	"status":    keystore.ScopeConvert, // where it asks for a key at all, any that may generate or convert will do
	"stored":    keystore.ScopeResponses,
	"chats":     keystore.ScopeChat,
}

// byModelPaths are the paths, besides the two main ones, that answer with a model which the body names.
var byModelPaths = []string{
	"/completions", "/embeddings", "/moderations", "/images/generations", "/audio/speech", "/rerank", "/score", "/tokenize",
	"/detokenize", "/responses/compact", "/responses/input_tokens",
}

// uploadPaths do so too, and their body is a form.
var uploadPaths = []string{"/images/edits", "/images/variations", "/audio/transcriptions", "/audio/translations"}

// scope is what a key needs for the request. What is not listed here opens the operator's account at the upstream, and
// needs a scope of its own; [keystore.Endpoints] says which.
func (rt route) scope(method string) string {
	if scope, ok := scopes[rt.name]; ok {
		return scope
	}
	path := "/" + strings.Trim(rt.path, "/")
	first, _, _ := strings.Cut(path[1:], "/")
	scope := keystore.EndpointScope(first)
	reads := method == http.MethodGet || method == http.MethodHead
	switch {
	case first == "responses", first == "conversations":
	case first == "models" && reads:
	case first == "models":
		return keystore.EndpointScope("fine_tuning") // only one's own models can be changed
	case method == http.MethodPost && (slices.Contains(byModelPaths, path) || slices.Contains(uploadPaths, path)):
	case slices.ContainsFunc(keystore.Endpoints(), func(e keystore.Endpoint) bool { return e.Scope == scope && e.ByDefault }):
		return keystore.ScopeEveryEndpoint // such as voices, or chat completions that the account has stored
	}
	return scope
}

// readsModel reports whether what a key is limited to can be held against the request: it names its model in a body
// of JSON, or asks no model for anything.
func (rt route) readsModel(r *http.Request) bool {
	path := "/" + strings.Trim(rt.path, "/")
	first, _, _ := strings.Cut(path[1:], "/")
	switch {
	case isUpgrade(r):
		return false
	case slices.Contains(byModelPaths, path):
		return r.Method == http.MethodPost && r.Header.Get("Content-Type") != "" && checkMediaType(r.Header.Get("Content-Type")) == nil
	}
	return first == "responses" || first == "conversations" ||
		first == "models" && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}
