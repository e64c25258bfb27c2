package chat2response

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/labiium/chat2response/internal/fakeopenai"
	"github.com/labiium/chat2response/keystore"
)

// H9, M7: a path means one thing here and at its upstream, or it is not there.
func TestPlainPaths(t *testing.T) {
	for path, plain := range map[string]bool{
		"/v1/chat/completions": true, "/v1/responses/": true, "/responses/resp_Abc": true, "/v1/models/Org/Name": true, "/": true, "/v1/files/a b": true,
		"//v1/chat/completions": false, "/v1//chat": false,
		"/v1/./responses": false, "/v1/x/../chat/completions": false, "/v1/..;/files": false, "/v1/.;a=b/files": false, `/v1\files`: false,
		"/v1/%2e%2e/files": false, "/v1/a%2Fb": false, "/v1/a%252fb": false, "/v1/a\x00b": false, "/v1/a\nb": false, "v1/files": false, "": false,
	} {
		if got := isPlain(path); got != plain {
			t.Errorf("%q: %v", path, got)
		}
	}
	h := &Handler{guards: true, Upstreams: []*Upstream{{HandleRaw: []byte("{}")}}}
	for path, want := range map[string]string{
		"/v1/responses/resp_Abc": "passthrough", "/responses/resp_Abc": "passthrough", "/v1/models/Org/Name": "passthrough", "/v1/responses": "responses",
		"/V1/chat/completions": "none", "/v1/Responses/x": "none", "/Responses/x": "none", "/v1/FILES": "none", "/Proxy": "none", "/x/../y": "none",
		"/Index.html": "", "/Chatter": "", "/api/chat": "",
	} {
		if rt, _ := h.routeOf(&url.URL{Path: path}); rt.name != want {
			t.Errorf("%q is %q", path, rt.name)
		}
	}
	for raw, want := range map[string]string{"/v1/models/a%2Fb": "passthrough", "/v1%2Fmodels": "none", "/v1/files%2f1": "none"} {
		path, _ := url.PathUnescape(raw)
		if rt, _ := h.routeOf(&url.URL{Path: path, RawPath: raw}); rt.name != want {
			t.Errorf("%q is %q", raw, rt.name)
		}
	}
}

// H11, M1: what a key needs for each path, and which of them a list of models can be held against.
func TestScopesOfPaths(t *testing.T) {
	for _, test := range []struct {
		method, path, scope string
		reads               bool
	}{
		{"POST", "/v1/embeddings", "endpoint:embeddings", true},
		{"GET", "/v1/models", "endpoint:models", true},
		{"GET", "/v1/models/a/b", "endpoint:models", true},
		{"DELETE", "/v1/models/ft:x", "endpoint:fine_tuning", false},
		{"POST", "/v1/responses", "endpoint:responses", true},
		{"POST", "/v1/responses/compact", "endpoint:responses", true},
		{"POST", "/v1/responses/input_tokens", "endpoint:responses", true},
		{"GET", "/v1/responses/resp_1", "endpoint:responses", true},
		{"GET", "/v1/conversations/conv_1/items", "endpoint:responses", true},
		{"POST", "/v1/chat/completions", "endpoint:chat", true},
		{"GET", "/v1/chat/completions/chatcmpl-1", "endpoint:*", false},
		{"POST", "/v1/audio/speech", "endpoint:audio", true},
		{"POST", "/v1/audio/transcriptions", "endpoint:audio", false},
		{"GET", "/v1/audio/voices", "endpoint:*", false},
		{"PUT", "/v1/embeddings", "endpoint:*", false},
		{"POST", "/v1/files", "endpoint:files", false},
		{"GET", "/v1/files/file-1/content", "endpoint:files", false},
		{"POST", "/v1/batches", "endpoint:batches", false},
		{"GET", "/v1/organization/admin_api_keys", "endpoint:organization", false},
		{"GET", "/v1/realtime", "endpoint:realtime", false},
		{"POST", "/v1/unheard/of", "endpoint:*", false},
		{"POST", "/proxy", "endpoint:responses", true},
		{"POST", "/convert", "endpoint:convert", true},
	} {
		rt, ok := apiRoute(test.path)
		if !ok {
			t.Fatal(test.path)
		}
		if got := rt.scope(test.method); got != test.scope {
			t.Errorf("%s %s: %s", test.method, test.path, got)
		}
		if rt.name != "passthrough" {
			continue
		}
		r, _ := http.NewRequest(test.method, test.path, nil)
		r.Header.Set("Content-Type", "application/json")
		if got := rt.readsModel(r); got != test.reads {
			t.Errorf("%s %s: its model is read: %v", test.method, test.path, got)
		}
	}
}

// M1: a key for some models asks none that it does not name.
func TestModelMustBeNamed(t *testing.T) {
	g, up := keyed(t, "memory")
	_, token := g.generate(`{"models":["fake-text"]}`)
	bearer := []string{"Authorization", "Bearer " + token}
	for path, body := range map[string]string{
		"/v1/embeddings": `{"input":"x"}`, "/v1/moderations": `{"input":"x"}`, "/v1/chat/completions": `{"messages":[{"role":"user","content":"x"}]}`, "/v1/responses": `{"input":"x"}`,
	} {
		if a := g.post(path, body, bearer...); a.status != http.StatusForbidden && a.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if n := len(up.Requests()); n != 0 {
		t.Errorf("the upstream was asked %d times", n)
	}
	if a := g.post("/v1/chat/completions", askChat, bearer...); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// accountUpstream answers with what is between an upstream and who has the account there.
func accountUpstream(t *testing.T, status int, contentType, body string) (string, func() http.Header) {
	var mu sync.Mutex
	var last http.Header
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		mu.Lock()
		last = r.Header.Clone()
		mu.Unlock()
		for name, value := range map[string]string{
			"Set-Cookie": "__cf=1", "Access-Control-Allow-Origin": "*", "Openai-Organization": "org-operator", "X-Ratelimit-Limit-Requests": "1000",
			"Strict-Transport-Security": "max-age=1", "Alt-Svc": `h3=":443"`, "X-Request-Id": "req_1", "Content-Type": contentType,
		} {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	})
	return addr, func() http.Header { mu.Lock(); defer mu.Unlock(); return last }
}

// Low, H11, A9: of an account that clients share, neither side sees what is between the other two.
func TestAccountIsTheOperators(t *testing.T) {
	const failure = `{"error":{"message":"Incorrect API key provided: sk-operator-0123456789abcdef.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`
	for _, status := range []int{200, 401} {
		body := `{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi","refusal":null},"logprobs":null,"finish_reason":"stop"}]}`
		if status == 401 {
			body = failure
		}
		addr, sent := accountUpstream(t, status, "application/json", body)
		g := start(t, "chat2response "+addr+" {\n mode chat\n api_key "+provider+"\n keys memory\n}")
		_, token := g.generate(`{"rpm":100}`)
		_, other := g.generate(`{"rpm":100}`)
		idempotency := map[string]string{}
		for _, path := range []string{"/v1/chat/completions", "/v1/responses", "/v1/embeddings"} {
			ask := map[string]string{"/v1/chat/completions": askChat, "/v1/responses": askResponses, "/v1/embeddings": `{"model":"m","input":"x"}`}[path]
			for _, key := range []string{token, other, token} {
				a := g.post(path, ask, "Authorization", "Bearer "+key, "OpenAI-Organization", "org-client", "OpenAI-Project", "proj-client", "Idempotency-Key", "1", "Connection", "Authorization, X-A")
				if a.status != status {
					t.Fatalf("%s: %d %s", path, a.status, a.body)
				}
				for _, name := range []string{"Set-Cookie", "Access-Control-Allow-Origin", "Openai-Organization", "Strict-Transport-Security", "Alt-Svc"} {
					if got := a.header.Get(name); got != "" {
						t.Errorf("%s, %d: %s is %q", path, status, name, got)
					}
				}
				if got := a.header.Values("X-Ratelimit-Limit-Requests"); len(got) != 1 || got[0] != "100" {
					t.Errorf("%s, %d: limits %q", path, status, got)
				}
				if a.header.Get("X-Request-Id") != "req_1" {
					t.Errorf("%s, %d: %v", path, status, a.header)
				}
				if strings.Contains(a.body, "sk-operator") || status == 401 && a.openAIError(t).code() != "invalid_api_key" {
					t.Errorf("%s: %s", path, a.body)
				}
				up := sent()
				if up.Get("Authorization") != "Bearer "+provider || up.Get("OpenAI-Organization") != "" || up.Get("OpenAI-Project") != "" {
					t.Errorf("%s: the upstream was sent %v", path, up)
				}
				i := up.Get("Idempotency-Key")
				if before := idempotency[key]; i == "1" || i == "" || before != "" && before != i {
					t.Errorf("%s: idempotency %q, before %q", path, i, before)
				}
				idempotency[key] = i
			}
		}
		if idempotency[token] == idempotency[other] {
			t.Error("two clients' requests have one name")
		}
	}
}

// A compressed error is read too; what cannot be read is said in other words.
func TestErrorsOfTheAccount(t *testing.T) {
	for name, test := range map[string]struct{ encoding, body, want string }{
		"gzip":      {"gzip", compress("gzip", `{"error":{"message":"sk-operator-0123456789abcdef is wrong"}}`), "[redacted] is wrong"},
		"garbled":   {"gzip", "sk-operator-0123456789abcdef", "The upstream answered 400."},
		"unknown":   {"compress", "sk-operator-0123456789abcdef", "The upstream answered 400."},
		"too large": {"", strings.Repeat("sk-operator-0123456789abcdef ", 4000), "The upstream answered 400."},
	} {
		addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
			if test.encoding != "" {
				w.Header().Set("Content-Encoding", test.encoding)
			}
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, test.body)
		})
		g := start(t, "chat2response "+addr+" {\n mode chat\n api_key "+provider+"\n keys memory\n}")
		_, token := g.generate(`{}`)
		for _, path := range []string{"/v1/chat/completions", "/v1/embeddings"} {
			a := g.post(path, askChat, "Authorization", "Bearer "+token, "Accept-Encoding", "gzip, compress")
			if a.status != 400 || !strings.Contains(a.body, test.want) || strings.Contains(a.body, "sk-operator") || a.header.Get("Content-Encoding") != "" {
				t.Errorf("%s, %s: %d %v %.300s", name, path, a.status, a.header, a.body)
			}
		}
	}
}

// Who may ask what asks no model.
func TestAccess(t *testing.T) {
	_, addr := fake(t, fakeopenai.Options{APIKey: provider})
	site := func(more string) string {
		return "route {\n chat2response " + addr + " {\n mode chat\n api_key " + provider + "\n keys memory\n " + more + "\n }\n respond \"next\" 202\n}"
	}
	g := start(t, site(""))
	_, token := g.generate(`{}`)
	_, bound := g.generate(`{"scopes":["endpoint:chat"]}`)
	expect := func(what, method, path, key string, status int) {
		t.Helper()
		body := ""
		if method == http.MethodPost {
			body = askChat
		}
		header := []string{}
		if key != "" {
			header = []string{"Authorization", "Bearer " + key}
		}
		if a := g.do(method, path, body, header...); a.status != status {
			t.Errorf("%s: %s with %.8q: %d %s", what, path, key, a.status, a.body)
		}
	}
	expect("open", "POST", "/convert", "", 200)
	expect("open", "POST", "/convert", "sk-of-somebody-else", 200)
	expect("open", "POST", "/convert", token, 200)
	expect("open", "POST", "/convert", bound, 403)
	expect("open", "POST", "/convert", "sk_"+strings.Repeat("0", 32)+"."+strings.Repeat("0", 64), 401)
	expect("open", "GET", "/status", "", 200)
	g.load(site("convert keys\n status keys"))
	expect("keys", "POST", "/convert", "", 401)
	expect("keys", "GET", "/status", "", 401)
	g.load(site("convert off\n status off"))
	expect("off", "POST", "/convert", "", 202)
	expect("off", "GET", "/status", "", 202)
	if err := g.tryLoad("chat2response " + addr + " {\n mode chat\n convert keys\n}"); err == nil || !strings.Contains(err.Error(), "configure keys") {
		t.Errorf("keys of a gateway without: %v", err)
	}
}

// H6: nothing is written for a bearer that no upstream has accepted.
func TestInventedBearers(t *testing.T) {
	up, addr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Chat}, APIKey: "good"})
	g := start(t, "chat2response "+addr+" {\n mode chat\n}")
	for i := range 3 {
		a := g.post("/v1/conversations", `{}`, "Authorization", fmt.Sprintf("Bearer invented-%d", i))
		if e := a.openAIError(t); a.status != 401 || e.code() != "invalid_api_key" {
			t.Errorf("%d %s", a.status, a.body)
		}
		a = g.post("/v1/responses", `{"model":"fake-text","input":"x","background":true}`, "Authorization", fmt.Sprintf("Bearer invented-%d", i))
		if a.openAIError(t); a.status != 401 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	up.Reset()
	for range 3 { // it is asked once
		if a := g.post("/v1/conversations", `{}`, "Authorization", "Bearer good"); a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if n := len(up.Requests()); n > 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

// H7: who shows nothing has a history on this machine only, and no web page has it.
func TestNobodysHistory(t *testing.T) {
	_, addr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Chat}})
	g := start(t, "chat2response "+addr+" {\n mode chat\n}")
	if a := g.post("/v1/responses?conversation_id=diary", `{"model":"fake-text","input":"my secret"}`); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	const ask = `{"model":"fake-text","input":"x"}`
	if a := g.post("/convert?conversation_id=diary", ask); a.status != 200 || !strings.Contains(a.body, "my secret") {
		t.Errorf("the user: %d %s", a.status, a.body)
	}
	for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}, {"X-Forwarded-For", "203.0.113.7"}, {"Host", "evil.example"}} {
		r, _ := http.NewRequest(http.MethodPost, g.url+"/convert?conversation_id=diary", strings.NewReader(ask))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set(header[0], header[1])
		if header[0] == "Host" {
			r.Host = header[1]
		}
		if a := g.send(r); a.status != 401 || strings.Contains(a.body, "my secret") {
			t.Errorf("%v: %d %s", header, a.status, a.body)
		}
		a := g.post("/v1/responses", ask, header...)
		if header[0] != "Host" && (a.status != 200 || object(t, []byte(a.body))["store"] != false) {
			t.Errorf("%v: %d %s", header, a.status, a.body)
		}
	}
	// A page sends what has no type without asking the site.
	for path, body := range map[string]string{"/v1/responses": ask, "/v1/chat/completions": askChat} {
		if a := g.post(path, body, "Content-Type", "", "Origin", "https://evil.example"); a.status != 415 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if a := g.post("/v1/responses", ask, "Content-Type", ""); a.status != 200 {
		t.Errorf("a program: %d %s", a.status, a.body)
	}
}

// M3: a body that Caddy finds too large on its way is the client's fault, and told as that.
func TestTooLargeOnItsWay(t *testing.T) {
	_, addr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Chat}})
	g := start(t, "request_body {\n max_size 64KiB\n}\nchat2response "+addr+" {\n mode chat\n fail_duration 1m\n}")
	for _, path := range []string{"/v1/chat/completions", "/v1/files"} {
		r, _ := http.NewRequest(http.MethodPost, g.url+path, io.MultiReader(strings.NewReader(`{"model":"`), strings.NewReader(strings.Repeat("x", 1<<20)))) // of no known length
		r.Header.Set("Content-Type", "application/json")
		a := g.send(r)
		if a.openAIError(t); a.status != 413 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
		if a := g.post("/v1/chat/completions", askChat); a.status != 200 {
			t.Errorf("%s, and then: %d %s", path, a.status, a.body)
		}
	}
}

// Low: what runs under a key ends with it.
func TestRevokedInMidStream(t *testing.T) {
	var running atomic.Int64
	first := frames(fakeopenai.Chat, "openai", "text")[0]
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Add(-1)
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		w.Write(first)
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	g := start(t, "chat2response "+addr+" {\n mode chat\n api_key "+provider+"\n keys memory\n}")
	id, token := g.generate(`{}`)
	live := g.stream("/v1/responses", `{"model":"m","input":"x","stream":true}`, "Authorization", "Bearer "+token)
	live.next(t)
	a := g.post("/v1/responses", `{"model":"m","input":"x","background":true}`, "Authorization", "Bearer "+token)
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := g.post("/keys/revoke", `{"id":"`+id+`"}`); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	rest := live.rest(t)
	failed := slices.IndexFunc(rest, func(e event) bool { return strings.Contains(e.data, `"response.failed"`) })
	if failed < 0 || !strings.Contains(rest[failed].data, "revoked") {
		t.Errorf("the stream ended with %v", rest)
	}
	eventually(t, "the background response ends", func() bool { return running.Load() == 0 })
}

// Low: background responses of one client are bounded.
func TestBackgroundBound(t *testing.T) {
	_, addr := holding(t)
	g := start(t, "chat2response "+addr+" {\n mode chat\n api_key "+provider+"\n keys memory\n state memory {\n max_background 2\n }\n}")
	_, token := g.generate(`{}`)
	_, other := g.generate(`{}`)
	ask := func(key string) httpAnswer {
		return g.post("/v1/responses", `{"model":"m","input":"x","background":true}`, "Authorization", "Bearer "+key)
	}
	for range 2 {
		if a := ask(token); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	if a := ask(token); a.status != 429 || a.header.Get("Retry-After") == "" || !strings.Contains(a.openAIError(t).Message, "max_background") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := ask(other); a.status != 200 {
		t.Errorf("another client: %d %s", a.status, a.body)
	}
}

// Low: a model's name in a header of the upstream's request is no reason to take the upstream for broken.
func TestModelInAHeader(t *testing.T) {
	_, addr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Chat}})
	g := start(t, "chat2response "+addr+" {\n mode chat\n header_up X-Model {http.chat2response.model}\n fail_duration 1m\n}")
	for _, model := range []string{`a\r\nb`, `a\nb`, `a\u0000b`} {
		if a := g.post("/v1/responses", `{"model":"`+model+`","input":"x"}`); a.status == 502 || a.status == 503 {
			t.Errorf("%q: %d %s", model, a.status, a.body)
		}
	}
	if a := g.post("/v1/responses", askResponses); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// The scopes in the documentation are those that there are.
func TestDocumentedScopes(t *testing.T) {
	for _, e := range keystore.Endpoints() {
		if rt, ok := apiRoute("/v1/" + strings.TrimPrefix(e.Scope, "endpoint:")); ok && !e.ByDefault && rt.scope("GET") != e.Scope {
			t.Errorf("%s opens nothing: its path needs %s", e.Scope, rt.scope("GET"))
		}
	}
}

// A1: that other machines spend the operator's key is said, once.
func TestAnonymousFromAfar(t *testing.T) {
	core, logs := observer.New(zapcore.WarnLevel)
	h := &Handler{AllowAnonymous: true, Upstreams: []*Upstream{{apiKey: provider}}, logger: zap.New(core), warned: new(sync.Once)}
	for _, peer := range []string{"127.0.0.1:1", "[::1]:1", "192.0.2.7:1", "192.0.2.8:1"} {
		r, _ := http.NewRequest(http.MethodGet, "/status", nil)
		r.RemoteAddr = peer
		h.warnOfAnonymous(r)
	}
	if all := logs.All(); len(all) != 1 || all[0].ContextMap()["remote_ip"] != "192.0.2.7" {
		t.Errorf("%v", all)
	}
}
