package chat2response

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labiium/chat2response/convert"
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

// routeOf is the route of a path, with /keys where there are keys.
func (h *Handler) routeOf(path string) (route, bool) {
	below, ok := strings.CutPrefix("/"+strings.Trim(path, "/"), "/keys")
	if methods, known := keyRoutes[below]; ok && known && h.Keys != nil && !h.Keys.NoEndpoints {
		return route{name: "keys", path: below, methods: methods}, true
	}
	return routeOf(path)
}

func routeOf(path string) (route, bool) {
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
