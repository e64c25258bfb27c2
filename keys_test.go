package chat2response

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/labiium/chat2response/internal/fakeopenai"
	"github.com/labiium/chat2response/store/storetest"
)

const provider = "sk-provider-0123456789abcdef"

// backends are the key stores that are tested: a Redis of the machine's, if there
// is one, else one in the process.
func backends(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{
		"memory": "memory",
		"bbolt":  "bbolt " + filepath.Join(t.TempDir(), "keys.db"),
		"redis":  "redis redis://" + storetest.StartRedis(t).Addr,
	}
}

// keyed starts a gateway with keys before an upstream that needs the provider's.
func keyed(t *testing.T, keys string) (*gateway, *fakeopenai.Server) {
	t.Helper()
	up, addr := fake(t, fakeopenai.Options{Dialect: "generic", APIKey: provider})
	g := start(t, `chat2response `+addr+` {
		mode chat
		api_key `+provider+`
		keys `+keys+`
	}`)
	return g, up
}

// generate mints a key on the gateway's machine and returns its id and token.
func (g *gateway) generate(body string) (id, token string) {
	g.t.Helper()
	a := g.post("/keys/generate", body)
	if a.status != http.StatusOK {
		g.t.Fatalf("%d %s", a.status, a.body)
	}
	m := object(g.t, []byte(a.body))
	return m["id"].(string), m["token"].(string)
}

const (
	askChat      = `{"model":"fake-text","messages":[{"role":"user","content":"Hello"}]}`
	askResponses = `{"model":"fake-text","input":"Hello"}`
)

// The four commands of the original's README, and what a key opens.
func TestKeysAsInTheOriginal(t *testing.T) {
	for name, backend := range backends(t) {
		t.Run(name, func(t *testing.T) {
			g, up := keyed(t, backend)
			a := g.post("/keys/generate", `{"label":"svc","ttl_seconds":86400}`)
			created := object(t, []byte(a.body))
			for _, member := range []string{"id", "token", "created_at", "expires_at", "label", "scopes"} {
				if _, ok := created[member]; !ok {
					t.Errorf("no %s in %s", member, a.body)
				}
			}
			if got := a.header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control %q", got)
			}
			id, token := created["id"].(string), created["token"].(string)

			for path, body := range map[string]string{"/proxy": askChat, "/v1/chat/completions": askChat, "/v1/responses": askResponses, "/chat/completions": askChat} {
				for _, header := range [][]string{{"Authorization", "Bearer " + token}, {"X-Api-Key", token}, {"Authorization", "bearer " + token}} {
					if a := g.post(path, body, header...); a.status != http.StatusOK {
						t.Errorf("%s with %s: %d %s", path, header[0], a.status, a.body)
					}
				}
			}
			for _, r := range up.Requests() {
				if got := r.Header.Get("Authorization"); got != "Bearer "+provider || r.Header.Get("X-Api-Key") != "" {
					t.Errorf("the upstream saw %q and %q", got, r.Header.Get("X-Api-Key"))
				}
			}

			list := g.get("/keys")
			var keys []map[string]any
			if err := json.Unmarshal([]byte(list.body), &keys); err != nil || len(keys) != 1 || keys[0]["id"] != id || keys[0]["status"] != "active" {
				t.Fatalf("%v %s", err, list.body)
			}
			if strings.Contains(list.body, token) || strings.Contains(list.body, "hash") || strings.Contains(list.body, "salt") {
				t.Error("the list tells secrets")
			}
			a = g.post("/keys/set_expiration", `{"id":"`+id+`","ttl_seconds":3600}`)
			if a.status != http.StatusOK || dig(object(t, []byte(a.body)), "updated") != true {
				t.Errorf("%d %s", a.status, a.body)
			}
			if a = g.post("/keys/revoke", `{"id":"`+id+`"}`); a.body != `{"revoked":true,"id":"`+id+`"}` {
				t.Errorf("%s", a.body)
			}
			a = g.post("/v1/responses", askResponses, "Authorization", "Bearer "+token)
			if e := a.openAIError(t); a.status != http.StatusUnauthorized || e.Message != "API key revoked" || a.header.Get("Www-Authenticate") == "" {
				t.Errorf("%d %s", a.status, a.body)
			}
			// Who has not the secret is not told.
			a = g.post("/v1/responses", askResponses, "Authorization", "Bearer sk_"+id+"."+strings.Repeat("0", 64))
			if e := a.openAIError(t); e.Message != "Invalid API key" {
				t.Errorf("%s", a.body)
			}
		})
	}
}

// Only programs of this machine administer keys without a token.
func TestKeysAdmin(t *testing.T) {
	g, _ := keyed(t, "memory")
	refused := map[string][]string{
		"foreign host":      {"Host", "gateway.example"},
		"rebound host":      {"Host", "evil.example:8088"},
		"a proxy":           {"X-Forwarded-For", "10.0.0.1"},
		"a proxy's Via":     {"Via", "1.1 proxy"},
		"another origin":    {"Origin", "https://evil.example"},
		"cross-site":        {"Sec-Fetch-Site", "cross-site"},
		"a form":            {"Content-Type", "text/plain"},
		"no type":           {"Content-Type", ""},
		"Forwarded":         {"Forwarded", "for=10.0.0.1"},
		"an opaque origin":  {"Origin", "null"},
		"same-site, not us": {"Sec-Fetch-Site", "same-site"},
	}
	for name, header := range refused {
		r, _ := http.NewRequest(http.MethodPost, g.url+"/keys/generate", strings.NewReader(`{}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set(header[0], header[1])
		if header[0] == "Host" {
			r.Host = header[1]
		}
		if header[1] == "" {
			r.Header.Del(header[0])
		}
		a := g.send(r)
		if e := a.openAIError(t); a.status != http.StatusForbidden || !strings.Contains(e.Message, adminTokenVar) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: CORS", name)
		}
	}
	if list := g.get("/keys"); list.body != "[]" {
		t.Errorf("keys were made: %s", list.body)
	}
	if a := g.get("//keys", "Origin", "https://evil.example"); a.status != http.StatusNotFound {
		t.Errorf("//keys: %d %s", a.status, a.body)
	}
	for path, status := range map[string]int{"/Keys": 404, "/x/../keys": 404, "/keys/": 403, "/%6beys": 403} {
		r, _ := http.NewRequest(http.MethodGet, g.url, nil)
		r.URL.Opaque = path // as it is, not cleaned
		r.Header.Set("Origin", "https://evil.example")
		if a := g.send(r); a.status != status {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if a := g.get("/keys/generate"); a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "POST" {
		t.Errorf("%d %s", a.status, a.header.Get("Allow"))
	}
	for body, param := range map[string]string{
		``: "", `[]`: "", `{"ttl_seconds":0}`: "ttl_seconds", `{"expires_at":1}`: "expires_at", `{"ttl_second":5}`: "ttl_second", `{"ttl_seconds":"x"}`: "ttl_seconds",
		`{"ttl_seconds":18446744073709551615}`: "ttl_seconds",
	} {
		a := g.post("/keys/generate", body, "Content-Type", "application/json")
		if e := a.openAIError(t); a.status != http.StatusBadRequest || param != "" && e.param() != param {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	if a := g.post("/keys/revoke", `{}`); a.openAIError(t).param() != "id" {
		t.Errorf("%s", a.body)
	}
}

// From another machine, and nothing is stored.
func TestKeysFromAfar(t *testing.T) {
	g, _ := keyed(t, "memory")
	_ = g
	h := handlerOf(t)
	for _, peer := range []string{"192.0.2.7:5000", "[2001:db8::1]:5000", "10.1.2.3:80"} {
		r := httptest.NewRequest(http.MethodPost, "http://localhost:8088/keys/generate", strings.NewReader(`{}`))
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = peer
		w := httptest.NewRecorder()
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
		if err := h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })); err != nil {
			t.Fatal(err)
		}
		if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), adminTokenVar) {
			t.Errorf("%s: %d %s", peer, w.Code, w.Body)
		}
	}
	if list := g.get("/keys"); list.body != "[]" {
		t.Errorf("keys were made: %s", list.body)
	}
}

// handlerOf is the handler of the running configuration's only site.
func handlerOf(t *testing.T) *Handler {
	t.Helper()
	rings.Lock()
	defer rings.Unlock()
	if len(rings.list) == 0 {
		t.Fatal("no key store is open")
	}
	ring := rings.list[len(rings.list)-1]
	return &Handler{Keys: &Keys{ring: ring, fails: new(failures)}, Upstreams: []*Upstream{{}}, logger: ring.config.Log}
}

func TestKeysAdminToken(t *testing.T) {
	const token = "correct horse battery staple 1"
	g, _ := keyed(t, `memory {
		admin_token "`+token+`"
	}`)
	if a := g.get("/keys"); a.status != http.StatusUnauthorized || a.header.Get("Www-Authenticate") == "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	bearer := []string{"Authorization", "Bearer " + token, "X-Forwarded-For", "10.0.0.1"}
	if a := g.post("/keys/generate", `{"scopes":["admin:keys"]}`, bearer...); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	} else {
		key := object(t, []byte(a.body))["token"].(string)
		if a := g.get("/keys", "Authorization", "Bearer "+key); a.status != http.StatusOK {
			t.Errorf("a key with the scope: %d %s", a.status, a.body)
		}
	}
	var last httpAnswer
	for range maxFailures + 1 {
		last = g.get("/keys", "Authorization", "Bearer wrong")
	}
	if last.status != http.StatusTooManyRequests || last.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", last.status, last.body)
	}
	if a := g.get("/keys", bearer...); a.status != http.StatusOK {
		t.Errorf("the right token behind wrong ones: %d %s", a.status, a.body)
	}
}

// What a key may do: endpoints, models, requests a minute and at one time.
func TestKeysPolicy(t *testing.T) {
	g, up := keyed(t, "memory")
	ask := func(path, token, body string) httpAnswer {
		return g.post(path, body, "Authorization", "Bearer "+token)
	}
	_, chatOnly := g.generate(`{"scopes":["endpoint:chat"]}`)
	if a := ask("/v1/responses", chatOnly, askResponses); a.status != http.StatusForbidden || a.openAIError(t).code() != "scope_missing" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := ask("/v1/chat/completions", chatOnly, askChat); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}

	_, bound := g.generate(`{"models":["fake-te*"]}`)
	for path, body := range map[string]string{
		"/v1/chat/completions": `{"model":"fake-tool","messages":[{"role":"user","content":"x"}]}`,
		"/v1/responses":        `{"model":"fake-tool","input":"x"}`,
		"/proxy":               `{"model":"fake-tool","input":"x"}`,
		"/v1/embeddings":       `{"model":"other","input":"x"}`,
	} {
		up.Reset()
		if a := ask(path, bound, body); a.status != http.StatusForbidden || a.openAIError(t).code() != "model_not_allowed" || len(up.Requests()) != 0 {
			t.Errorf("%s: %d %s, %d at the upstream", path, a.status, a.body, len(up.Requests()))
		}
	}
	for _, body := range []string{`{"model":"fake-text","MODEL":"fake-tool","input":"x"}`, `{"model":"fake-text","model":"fake-tool","input":"x"}`} {
		if a := ask("/v1/responses", bound, body); a.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	if a := ask("/v1/responses", bound, askResponses); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}

	_, slow := g.generate(`{"rpm":2}`)
	for i := range 3 {
		a := ask("/v1/responses", slow, askResponses)
		if a.header.Get("X-Ratelimit-Limit-Requests") != "2" {
			t.Errorf("no limit in %v", a.header)
		}
		if limited := a.status == http.StatusTooManyRequests; limited != (i == 2) || limited && a.header.Get("Retry-After") == "" {
			t.Errorf("request %d: %d %s", i, a.status, a.body)
		}
	}
}

// A place is free again when the stream has ended, not when its header was sent.
func TestKeysParallel(t *testing.T) {
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free)
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n")
		w.(http.Flusher).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
		fmt.Fprint(w, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	})
	g := start(t, `chat2response `+addr+` {
		mode chat
		keys memory
	}`)
	_, token := g.generate(`{"max_parallel":1}`)
	bearer := []string{"Authorization", "Bearer " + token}
	body := `{"model":"m","input":"x","stream":true}`
	first := g.stream("/v1/responses", body, bearer...)
	first.next(t)
	if a := g.post("/v1/responses", body, bearer...); a.status != http.StatusTooManyRequests {
		t.Errorf("%d %s", a.status, a.body)
	}
	free()
	for range first.events {
	}
	if a := g.post("/v1/responses", body, bearer...); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// A reload loses neither keys nor places, and a stream outlives its key store.
func TestKeysReload(t *testing.T) {
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free)
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n")
		w.(http.Flusher).Flush()
		<-release
		fmt.Fprint(w, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	})
	path := filepath.Join(t.TempDir(), "keys.db")
	site := func(extra string) string {
		return "chat2response " + addr + " {\n mode chat\n" + extra + "\n}"
	}
	g := start(t, site("keys bbolt "+path))
	_, token := g.generate(`{"max_parallel":1}`)
	bearer := []string{"Authorization", "Bearer " + token}
	body := `{"model":"m","input":"x","stream":true}`
	first := g.stream("/v1/responses", body, bearer...)
	first.next(t)
	g.load(site("keys bbolt " + path + "\n strict"))
	if a := g.post("/v1/responses", body, bearer...); a.status != http.StatusTooManyRequests {
		t.Errorf("after the reload the key's place was free: %d %s", a.status, a.body)
	}
	g.load(site("")) // no keys any more: the old stream is the last user of the store
	free()
	last := event{}
	for e := range first.events {
		if e.data != "" {
			last = e
		}
	}
	if first.err != nil || last.data != "[DONE]" {
		t.Errorf("the stream ended with %q, %v", last.data, first.err)
	}
	if a := g.get("/keys"); a.status == http.StatusOK && strings.Contains(a.body, "[{") {
		t.Errorf("keys without keys: %s", a.body)
	}
	g.load(site("keys bbolt " + path)) // the file was closed and opens again
	if a := g.post("/v1/responses", body, bearer...); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// Redis that fails is 503 within 1.1 s, never 401 and never 200, and heals.
func TestKeysRedisDown(t *testing.T) {
	redis := storetest.StartRedis(t)
	proxy := storetest.NewProxy(t, redis.Addr)
	g, _ := keyed(t, "redis redis://"+proxy.Addr+` {
		cache_ttl off
	}`)
	_, token := g.generate(`{}`)
	bearer := []string{"Authorization", "Bearer " + token}
	proxy.Set(storetest.Refuse)
	began := time.Now()
	a := g.post("/v1/responses", askResponses, bearer...)
	if took := time.Since(began); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || took > 1100*time.Millisecond {
		t.Errorf("%d after %s: %s", a.status, took, a.body)
	}
	if e := a.openAIError(t); e.code() != "key_store_unavailable" {
		t.Errorf("%s", a.body)
	}
	proxy.Set(storetest.Pass)
	healed := time.Now().Add(3 * time.Second)
	for a.status != http.StatusOK && time.Now().Before(healed) {
		time.Sleep(50 * time.Millisecond)
		a = g.post("/v1/responses", askResponses, bearer...)
		if a.status == http.StatusUnauthorized {
			t.Fatalf("a good key was refused: %s", a.body)
		}
	}
	if a.status != http.StatusOK {
		t.Errorf("did not heal: %d %s", a.status, a.body)
	}
}

// Configurations that would be an open door do not load.
func TestKeysFailClosed(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "keys.db")
	if err := os.WriteFile(broken, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := &gateway{t: t, addr: freeAddr(t)}
	for config, want := range map[string]string{
		"api_key " + provider:                  "allow_anonymous",
		"keys bbolt " + broken:                 broken,
		"keys redis http://x":                  "redis",
		"keys nothing":                         "there is no store",
		"keys memory {\n admin_token short\n}": "24",
		"keys memory {\n admin_token {env.CHAT2RESPONSE_NOT_SET}\n}": "CHAT2RESPONSE_NOT_SET",
		"api_key " + provider + "\nkeys memory {\n passthrough\n}":   "passthrough",
		"keys memory {\n stale_on_error 2h\n}":                       "60",
		"keys memory {\n default_ttl 0s\n}":                          "default_ttl",
	} {
		err := func() (err error) {
			defer func() {
				if err == nil {
					caddy.Stop()
				}
			}()
			return g.tryLoad("chat2response localhost:1 {\n" + config + "\n}")
		}()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", config, err, want)
		}
	}
}

// While a server runs on a file, its configuration can be checked, and a second
// server cannot have it.
func TestKeysValidateBeside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.db")
	start(t, "chat2response localhost:1 {\n keys bbolt "+path+"\n}")
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	config := adapt(t, "http://:1 {\nchat2response localhost:1 {\nkeys bbolt "+path+"\n}\n}\n")
	var cfg caddy.Config
	if err := json.Unmarshal(config, &cfg); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&cfg); err != nil {
		t.Error(err)
	}
	after, err := os.Stat(path)
	if err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("checking a configuration touched the file: %v", err)
	}
}

// Keys that clients bring are the upstream's; one of the gateway's never leaves.
func TestKeysPassthrough(t *testing.T) {
	up, addr := fake(t, fakeopenai.Options{Dialect: "generic"})
	g := start(t, `chat2response `+addr+` {
		mode chat
		keys memory {
			passthrough
		}
	}`)
	_, token := g.generate(`{}`)
	for sent, want := range map[string]string{"Bearer sk-theirs": "Bearer sk-theirs", "Bearer " + token: ""} {
		for path, body := range map[string]string{"/v1/responses": askResponses, "/v1/chat/completions": askChat} {
			up.Reset()
			if a := g.post(path, body, "Authorization", sent); a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
			if got := up.Requests()[0].Header.Get("Authorization"); got != want {
				t.Errorf("%s: sent %q, the upstream saw %q", path, sent, got)
			}
		}
	}
}

// Two credentials, or one twice.
func TestCredential(t *testing.T) {
	for _, c := range []struct {
		header http.Header
		want   string
		ok     bool
	}{
		{http.Header{}, "", true},
		{http.Header{"Authorization": {"Bearer a"}}, "a", true},
		{http.Header{"Authorization": {"bearer  a "}}, "a", true},
		{http.Header{"Authorization": {"Basic a"}}, "", true},
		{http.Header{"X-Api-Key": {"a"}}, "a", true},
		{http.Header{"Api-Key": {"a"}}, "a", true},
		{http.Header{"Authorization": {"Bearer a"}, "X-Api-Key": {"a"}}, "a", true},
		{http.Header{"Authorization": {"Bearer a"}, "X-Api-Key": {"b"}}, "", false},
		{http.Header{"Authorization": {"Bearer a", "Bearer a"}}, "", false},
	} {
		got, err := credential(c.header)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%v: %q, %v", c.header, got, err)
		}
	}
}

// The admin socket does what /keys does.
func TestKeysAdminSocket(t *testing.T) {
	g, _ := keyed(t, "memory")
	mux := http.NewServeMux()
	for _, route := range (adminAPI{}).Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := route.Handler.ServeHTTP(w, r); err != nil {
				http.Error(w, err.Error(), err.(caddy.APIError).HTTPStatus)
			}
		})
	}
	call := func(method, path, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		return w
	}
	w := call(http.MethodPost, "/chat2response/keys/generate", `{"label":"socket"}`)
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	token := object(t, w.Body.Bytes())["token"].(string)
	if a := g.post("/v1/responses", askResponses, "Authorization", "Bearer "+token); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
	for path, want := range map[string]int{
		"/chat2response/keys": 200, "/chat2response/keys?store=memory": 200, "/chat2response/keys?store=other": 404, "/chat2response/keys?limit=0": 400,
	} {
		if w := call(http.MethodGet, path, ""); w.Code != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// Many first uses of keys while configurations come and go.
func TestKeysUnderReloads(t *testing.T) {
	_, addr := fake(t, fakeopenai.Options{Dialect: "generic"})
	site := "chat2response " + addr + " {\n mode chat\n keys bbolt " + filepath.Join(t.TempDir(), "keys.db") + "\n}"
	g := start(t, site)
	_, token := g.generate(`{}`)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	bad := make(chan string, 1)
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				r, _ := http.NewRequest(http.MethodPost, g.url+"/v1/responses", strings.NewReader(askResponses))
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Authorization", "Bearer "+token)
				resp, err := client.Do(r)
				if err != nil {
					continue // a connection that the reload closed
				}
				resp.Body.Close()
				if resp.StatusCode == http.StatusUnauthorized {
					select {
					case bad <- resp.Status:
					default:
					}
				}
			}
		})
	}
	for range 5 {
		g.load(site)
	}
	cancel()
	wg.Wait()
	select {
	case status := <-bad:
		t.Errorf("a good key was refused: %s", status)
	default:
	}
}
