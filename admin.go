package chat2response

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/labiium/chat2response/keystore"
	"github.com/labiium/chat2response/mcpbridge"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI is /chat2response/keys on Caddy's admin socket: what the handler
// answers under /keys, with the socket's own protection. With several key stores
// the query names one: ?store=<name>. /chat2response/mcp tells how the MCP servers
// are.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.chat2response",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// adminPrefix is where the endpoints are.
const adminPrefix = "/chat2response/keys"

// Routes returns the endpoints.
func (a adminAPI) Routes() []caddy.AdminRoute {
	var routes []caddy.AdminRoute
	for path, methods := range keyRoutes {
		routes = append(routes, caddy.AdminRoute{Pattern: methods[0] + " " + adminPrefix + path, Handler: caddy.AdminHandlerFunc(a.serve)})
	}
	return append(routes, caddy.AdminRoute{Pattern: "GET /chat2response/mcp", Handler: caddy.AdminHandlerFunc(a.mcp)})
}

// mcp lists the MCP servers of the running configuration.
func (adminAPI) mcp(w http.ResponseWriter, _ *http.Request) error {
	bridges.Lock()
	list := slices.Clone(bridges.list)
	bridges.Unlock()
	all := []mcpbridge.Status{}
	for _, b := range list {
		all = append(all, b.Status()...)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	return json.NewEncoder(w).Encode(all)
}

func (adminAPI) serve(w http.ResponseWriter, r *http.Request) error {
	ring, err := ringNamed(r.URL.Query().Get("store"))
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: err}
	}
	keys, release, err := ring.use(r.Context())
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	}
	defer release()
	w.Header().Set("Cache-Control", "no-store")
	return socketError(serveKeys(w, r, strings.TrimPrefix(r.URL.Path, adminPrefix), keys,
		keystore.Actor{ID: "admin_socket", RemoteIP: r.RemoteAddr}))
}

// socketError makes a refusal of the keystore one of the admin socket, which, unlike /keys, shows its cause: who asks
// here is the operator, and has to know that it was the disk. Causes are written for logs and hold no secret.
func socketError(err error) error {
	var refused *keystore.Error
	if !errors.As(err, &refused) {
		return err
	}
	return caddy.APIError{HTTPStatus: refused.Status, Err: refused, Message: refused.Error()}
}

// ringNamed is the key store of that name; without a name, the only one.
func ringNamed(name string) (*keyring, error) {
	rings.Lock()
	defer rings.Unlock()
	byName := map[string]*keyring{}
	for _, r := range rings.list {
		byName[r.name] = r // of two configurations the newer
	}
	if name != "" {
		if r, ok := byName[name]; ok {
			return r, nil
		}
		return nil, fmt.Errorf("there is no key store %q", name)
	}
	switch len(byName) {
	case 0:
		return nil, errors.New("no key store is configured: a chat2response handler needs keys")
	case 1:
		for _, r := range byName {
			return r, nil
		}
	}
	names := make([]string, 0, len(byName))
	for n := range byName {
		names = append(names, n)
	}
	return nil, fmt.Errorf("there are several key stores; name one with ?store=: %s", strings.Join(names, ", "))
}

// Interface guard
var _ caddy.AdminRouter = (*adminAPI)(nil)
