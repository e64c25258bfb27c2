package chat2response

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/labiium/chat2response/internal/fakeopenai"
)

// compressors are the encodings that a body may have.
var compressors = map[string]func(w io.Writer) io.WriteCloser{
	"gzip": func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
	"br":   func(w io.Writer) io.WriteCloser { return brotli.NewWriter(w) },
	"zstd": func(w io.Writer) io.WriteCloser { z, _ := zstd.NewWriter(w); return z },
}

func compress(encoding, s string) string {
	var b bytes.Buffer
	z := compressors[encoding](&b)
	io.WriteString(z, s)
	z.Close()
	return b.String()
}

// chunked hides a body's length.
type chunked struct{ io.Reader }

func (g *gateway) postChunked(path, body string, header ...string) httpAnswer {
	g.t.Helper()
	r, _ := http.NewRequest(http.MethodPost, g.url+path, chunked{strings.NewReader(body)})
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return g.send(r)
}

// TestCompressedBodies: in every encoding, announced or not, on the lanes of all
// paths.
func TestCompressedBodies(t *testing.T) {
	up, addr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Chat}})
	g := start(t, "chat2response "+addr+" {\n mode chat\n max_body 100KiB\n}")
	bodies := map[string]string{
		"/v1/responses":        `{"model":"fake-echo","input":"Grüße"}`,
		"/v1/chat/completions": `{"model":"fake-echo","messages":[{"role":"user","content":"Grüße"}]}`,
	}
	for path, body := range bodies {
		for encoding := range compressors {
			for _, name := range []string{encoding, strings.ToUpper(encoding), "X-" + encoding} {
				if strings.HasPrefix(name, "X-") && encoding != "gzip" {
					continue
				}
				up.Reset()
				a := g.post(path, compress(encoding, body), "Content-Encoding", name)
				b := g.postChunked(path, compress(encoding, body), "Content-Encoding", name)
				if a.status != 200 || !strings.Contains(a.body, "Grüße") || b.status != 200 {
					t.Errorf("%s, %s: %d %s; chunked %d", path, name, a.status, a.body, b.status)
				}
				for _, r := range up.Requests() {
					if r.Header.Get("Content-Encoding") != "" || r.Header.Get("Content-Length") != strconv.Itoa(len(r.Body)) {
						t.Errorf("%s, %s: the upstream got %v", path, name, r.Header)
					}
				}
			}
			// A megabyte of zeros is a thousand bytes.
			if a := g.post(path, compress(encoding, body+strings.Repeat(" ", 1<<20)), "Content-Encoding", encoding); a.status != 413 || a.openAIError(t).code() != "request_too_large" {
				t.Errorf("%s, %s: %d %s", path, encoding, a.status, a.body)
			}
			for _, broken := range []string{"not compressed at all", compress(encoding, body)[:12]} {
				if a := g.post(path, broken, "Content-Encoding", encoding); a.status != 400 || a.openAIError(t).code() != "invalid_body" {
					t.Errorf("%s, %s: %d %s", path, encoding, a.status, a.body)
				}
			}
		}
		if a := g.post(path, body, "Content-Encoding", "identity"); a.status != 200 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
		for _, unknown := range []string{"deflate", "gzip, br", "compress"} {
			if a := g.post(path, body, "Content-Encoding", unknown); a.status != 415 || a.openAIError(t).code() != "unsupported_content_encoding" {
				t.Errorf("%s, %s: %d %s", path, unknown, a.status, a.body)
			}
		}
	}
}

// TestBodyLimits: at the limit, over it, announced or not, on every lane; by our
// limit and by Caddy's. A too large body is never an upstream's failure.
func TestBodyLimits(t *testing.T) {
	const limit = 1000
	body := func(path string, size int) string {
		head, tail := `{"model":"fake-text","input":"`, `"}`
		if strings.Contains(path, "chat") {
			head, tail = `{"model":"fake-text","messages":[{"role":"user","content":"`, `"}]}`
		}
		return head + strings.Repeat("x", size-len(head)-len(tail)) + tail
	}
	_, addr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Chat}})
	for name, site := range map[string]string{
		"max_body":              "chat2response " + addr + " {\n mode chat\n max_body 1000B\n max_fails 1\n fail_duration 1m\n}",
		"request_body in front": "request_body {\n max_size 1000B\n}\n chat2response " + addr + " {\n mode chat\n max_fails 1\n fail_duration 1m\n}",
	} {
		g := start(t, site)
		for _, path := range []string{"/v1/responses", "/v1/chat/completions", "/proxy"} {
			for how, post := range map[string]func(string, string, ...string) httpAnswer{"announced": g.post, "chunked": g.postChunked} {
				a := post(path, body(path, limit+1))
				if how == "announced" && name != "max_body" {
					if a.status != 413 { // Caddy answers it before us
						t.Errorf("%s, %s: %d %s", name, path, a.status, a.body)
					}
				} else if a.status != 413 || a.openAIError(t).code() != "request_too_large" || a.openAIError(t).Type != "invalid_request_error" {
					t.Errorf("%s, %s, %s: %d %s", name, path, how, a.status, a.body)
				}
				if a := post(path, body(path, limit)); a.status != 200 {
					t.Errorf("%s, %s, %s: %d %s", name, path, how, a.status, a.body)
				}
			}
		}
	}
}

func TestMediaTypes(t *testing.T) {
	up, addr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Chat}})
	g := start(t, "chat2response "+addr+" {\n mode chat\n}")
	for path, body := range map[string]string{"/v1/responses": responsesBody("fake-text", false), "/v1/chat/completions": chatBody("fake-text", false), "/proxy": chatBody("fake-text", false)} {
		for media, want := range map[string]int{
			"application/json": 200, "application/json; charset=utf-8": 200, "Application/JSON": 200, "application/vnd.api+json": 200,
			"text/plain": 415, "application/x-www-form-urlencoded": 415, "multipart/form-data; boundary=x": 415, "nonsense": 415, "application/jsonlines": 415,
		} {
			up.Reset()
			if a := g.post(path, body, "Content-Type", media); a.status != want && !(media == "application/vnd.api+json" && path == "/v1/chat/completions") {
				t.Errorf("%s, %s: %d %s", path, media, a.status, a.body)
			} else if want == 415 && (a.openAIError(t).code() != "unsupported_content_type" || len(up.Requests()) != 0) {
				t.Errorf("%s, %s: %s", path, media, a.body)
			}
		}
	}
	if a := g.post("/v1/responses", responsesBody("fake-text", false), "Content-Type", ""); a.status != 200 {
		t.Errorf("without a type: %d %s", a.status, a.body)
	}
}

// TestBadBodies are refused before any upstream sees them.
func TestBadBodies(t *testing.T) {
	up, addr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Chat}})
	g := start(t, "chat2response "+addr+" {\n mode chat\n}")
	for body, param := range map[string]string{
		``: "", `{`: "", `null`: "", `"x"`: "", `{"model":"m","input":"x"} x`: "", `{"model":"m","model":"n","input":"x"}`: "model", "{\"model\":\"m\",\"input\":\"\xff\"}": "input",
		`{"Model":"m","input":"x"}`: "Model", `{"input":"x"}`: "model", `{"model":7,"input":"x"}`: "model", `{"model":"m","input":` + strings.Repeat("[", 1000) + `}`: "",
		`{"model":"` + strings.Repeat("m", 2000) + `","input":"x"}`: "model",
	} {
		a := g.post("/v1/responses", body, "Content-Type", "application/json")
		if a.status != 400 {
			t.Errorf("%.80s: %d %s", body, a.status, a.body)
			continue
		}
		if e := a.openAIError(t); e.param() != param && param != "" || e.code() == "" || len(e.Message) > 500 {
			t.Errorf("%.80s: %s", body, a.body)
		}
	}
	if n := len(up.Requests()); n != 0 {
		t.Errorf("%d requests reached the upstream", n)
	}
}

// TestModels: the request's model chooses the upstream, aliases change its name
// there and only there.
func TestModels(t *testing.T) {
	chat, chatAddr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Chat}})
	resp, respAddr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Responses}})
	g := start(t, `chat2response {
		upstream fake-* small/*/x {
			to `+chatAddr+`
			mode chat
		}
		upstream gpt-* o3 {
			to `+respAddr+`
			alias gpt-4o fake-echo
			alias gpt-5* fake-text
			alias gpt-5-mini* fake-unicode
			alias o3 fake-tools
		}
	}`)
	for model, want := range map[string]struct {
		up   *fakeopenai.Server
		name string
	}{
		"fake-echo": {chat, "fake-echo"}, "gpt-4o": {resp, "fake-echo"}, "gpt-5.1": {resp, "fake-text"}, "gpt-5-mini-2026": {resp, "fake-unicode"}, "o3": {resp, "fake-tools"},
	} {
		for path, body := range map[string]string{
			"/v1/chat/completions": `{ "seed": 7,"model":%q, "messages":[{"role":"user","content":"Hi \u00e9"}]}`,
			"/v1/responses":        `{ "metadata":{"a":"b"},"model":%q, "input":"Hi \u00e9"}`,
		} {
			chat.Reset()
			resp.Reset()
			a := g.post(path, fmt.Sprintf(body, model))
			if a.status != 200 {
				t.Errorf("%s %s: %d %s", path, model, a.status, a.body)
				continue
			}
			requests := want.up.Requests()
			if len(requests) != 1 || len(chat.Requests())+len(resp.Requests()) != 1 {
				t.Errorf("%s %s: it went to the wrong upstream", path, model)
				continue
			}
			sent := string(requests[0].Body)
			if got := object(t, []byte(sent))["model"]; got != want.name {
				t.Errorf("%s %s: asked for %v", path, model, got)
			}
			same := (want.up == chat) == strings.Contains(path, "chat")
			if same && sent != fmt.Sprintf(body, want.name) {
				t.Errorf("%s %s: more than the model changed: %s", path, model, sent)
			}
			if !same && object(t, []byte(a.body))["model"] != model {
				t.Errorf("%s: the answer's model is %v", model, object(t, []byte(a.body))["model"])
			}
		}
	}
	for _, model := range []string{"none", "GPT-4o", "o3-mini", "xfake-text", "small/x"} {
		for _, path := range []string{"/v1/chat/completions", "/v1/responses", "/proxy", "/convert", "/v1/embeddings"} {
			body := chatBody(model, true)
			if path == "/v1/responses" {
				body = responsesBody(model, true)
			}
			a := g.post(path, body)
			if e := a.openAIError(t); a.status != 404 || e.code() != "model_not_found" || e.param() != "model" || !strings.Contains(e.Message, model) {
				t.Errorf("%s %s: %d %s", path, model, a.status, a.body)
			}
		}
	}
	resp.Reset()
	if a := g.post("/v1/embeddings", `{"model":"gpt-4o","input":"x"}`); a.status != 200 || string(resp.Requests()[0].Body) != `{"model":"fake-echo","input":"x"}` {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestMatches(t *testing.T) {
	for pattern, tests := range map[string]map[string]bool{
		"*":         {"": true, "any/thing": true},
		"a*":        {"a": true, "ab": true, "b": false, "": false},
		"*a":        {"a": true, "ba": true, "ab": false},
		"a*a":       {"a": false, "aa": true, "aba": true, "ab": false},
		"a*b*c":     {"abc": true, "a1b2c": true, "acb": false, "abbc": true, "ab": false, "abcbc": true},
		"*x*":       {"x": true, "axb": true, "ab": false},
		"a**b":      {"ab": true, "axb": true},
		"exact":     {"exact": true, "exactly": false, "": false},
		"*ab*ab*ab": {"abab": false, "ababab": true, "abxabxab": true},
	} {
		for name, want := range tests {
			if got := matches(pattern, name); got != want {
				t.Errorf("%q and %q: %v", pattern, name, got)
			}
		}
	}
}

// TestNextAsUpstream: without upstreams the handler behind is the upstream, and
// what it says is the answer.
func TestNextAsUpstream(t *testing.T) {
	_, addr := fake(t, fakeopenai.Options{})
	answer, _ := fakeopenai.Answer(fakeopenai.Chat, "openai", "text")
	tests := map[string]struct {
		behind string
		status int
		want   string
	}{
		"reverse_proxy": {"reverse_proxy " + addr, 200, "today?"},
		"respond":       {"header Content-Type application/json\n respond `" + string(answer) + "`", 200, "today?"},
		"an error":      {"error \"no\" 403", 403, "invalid_request_error"},
		"nothing":       {"", 502, "names none"},
		"templates":     {"respond 404", 404, "error"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := start(t, "route {\n chat2response {\n mode chat\n }\n "+test.behind+"\n}")
			for _, stream := range []bool{true, false} {
				a := g.post("/v1/responses", responsesBody("fake-text", stream && test.status == 200 && name == "reverse_proxy"))
				whole := a.body + text(a.events())
				if a.status != test.status || !strings.Contains(whole, test.want) {
					t.Errorf("%d %s", a.status, a.body)
				}
				if a.status >= 400 {
					a.openAIError(t)
				}
			}
		})
	}
}

// seen is an upstream that keeps the newest request's header.
func seen(t *testing.T, api fakeopenai.API) (addr string, header func() http.Header) {
	up, addr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{api}})
	return addr, func() http.Header {
		requests := up.Requests()
		return requests[len(requests)-1].Header
	}
}

var credentialsOfClient = []string{"Authorization", "Bearer sk-client", "X-Api-Key", "sk-client-2", "Api-Key", "sk-client-3", "Cookie", "session=sk-client-4", "Proxy-Authorization", "Basic sk-client-5"}

// TestAPIKey: with a key of the gateway no credential of the client leaves it; on
// the express lane, translated, passed through and converted in the same API.
func TestAPIKey(t *testing.T) {
	t.Setenv("CHAT2RESPONSE_TEST_KEY", "sk-gateway")
	keyFile := filepath.Join(t.TempDir(), "key")
	os.WriteFile(keyFile, []byte("sk-gateway\n"), 0o600)
	for _, source := range []string{"{env.CHAT2RESPONSE_TEST_KEY}", "{file." + keyFile + "}", "sk-gateway"} {
		addr, header := seen(t, fakeopenai.Chat)
		g := start(t, "chat2response "+addr+" {\n mode chat\n api_key "+source+"\n allow_anonymous\n alias mine fake-text\n}")
		g2 := []string{"/v1/responses", "/v1/chat/completions", "/proxy", "/v1/models", "/v1/embeddings"}
		for _, path := range g2 {
			method, body := http.MethodPost, chatBody("fake-text", false)
			switch path {
			case "/v1/responses":
				body = responsesBody("mine", false)
			case "/v1/models":
				method, body = http.MethodGet, ""
			case "/v1/embeddings":
				body = `{"model":"m","input":"x"}`
			}
			if a := g.do(method, path, body, credentialsOfClient...); a.status != 200 {
				t.Fatalf("%s: %d %s", path, a.status, a.body)
			}
			got := header()
			if got.Get("Authorization") != "Bearer sk-gateway" || strings.Contains(fmt.Sprint(got), "sk-client") {
				t.Errorf("%s: %v", path, got)
			}
		}
	}
	addr, header := seen(t, fakeopenai.Chat)
	g := start(t, "chat2response "+addr+" {\n mode chat\n dialect azure\n api_key sk-gateway\n allow_anonymous\n}")
	g.post("/v1/responses?api-version=2026-01-01&x=y", responsesBody("fake-text", false), credentialsOfClient...)
	if got := header(); got.Get("Api-Key") != "sk-gateway" || got.Get("Authorization") != "" {
		t.Errorf("azure: %v", got)
	}
}

// TestClientsKey: without a key of the gateway the client's goes on, with few other
// headers.
func TestClientsKey(t *testing.T) {
	addr, header := seen(t, fakeopenai.Chat)
	g := start(t, "chat2response "+addr+" {\n mode chat\n}")
	more := append([]string{"OpenAI-Organization", "org", "Idempotency-Key", "i", "X-Stainless-Lang", "go", "Accept-Encoding", "br", "Traceparent", "00-1", "Incremental", "?1"}, credentialsOfClient...)
	if a := g.post("/v1/responses?beta=true", responsesBody("fake-text", false), more...); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	got := header()
	if got.Get("Authorization") != "Bearer sk-client" || got.Get("OpenAI-Organization") != "org" || got.Get("Idempotency-Key") != "i" || got.Get("Traceparent") != "00-1" {
		t.Errorf("%v", got)
	}
	for _, name := range []string{"Cookie", "X-Api-Key", "Proxy-Authorization", "X-Stainless-Lang", "Incremental", "Content-Encoding"} {
		if got.Get(name) != "" {
			t.Errorf("%s: %q", name, got.Get(name))
		}
	}
	if got.Get("Accept-Encoding") != "gzip" || got.Get("Accept") != "application/json" || got.Get("Content-Type") != "application/json" {
		t.Errorf("%v", got)
	}
	// The express lane changes nothing, and buffers though it is asked not to.
	if a := g.post("/v1/chat/completions", chatBody("fake-text", false), more...); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if got := header(); got.Get("Authorization") != "Bearer sk-client" || got.Get("X-Stainless-Lang") != "go" || got.Get("Accept-Encoding") != "br" {
		t.Errorf("%v", got)
	}
}

// TestHeadersOfTheAnswer: what helps the client comes back, what concerns only the
// upstream does not.
func TestHeadersOfTheAnswer(t *testing.T) {
	for _, status := range []int{200, 429, 500} {
		for _, stream := range []bool{true, false} {
			addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
				for name, value := range map[string]string{"Retry-After": "7", "X-Ratelimit-Limit-Requests": "3", "X-Ratelimit-Reset-Tokens": "1s", "X-Request-Id": "req_1", "Openai-Processing-Ms": "12",
					"Set-Cookie": "__cf=1", "Location": "/x", "Server": "uvicorn", "X-Powered-By": "y", "Etag": "z", "Access-Control-Allow-Origin": "*", "Strict-Transport-Security": "max-age=1", "X-Ratelimit-Long": strings.Repeat("x", 5000)} {
					w.Header().Set(name, value)
				}
				body, _ := fakeopenai.Answer(fakeopenai.Chat, "openai", map[int]string{200: "text", 429: "error429", 500: "error500"}[status])
				if w.Header().Set("Content-Type", "application/json"); stream && status == 200 {
					w.Header().Set("Content-Type", "text/event-stream")
					body = fakeopenai.Stream(fakeopenai.Chat, "openai", "text")
				}
				w.WriteHeader(status)
				w.Write(body)
			})
			g := start(t, "chat2response "+addr+" {\n mode chat\n}")
			a := g.post("/v1/responses", responsesBody("m", stream))
			if a.status != status {
				t.Errorf("%d %s", a.status, a.body)
			}
			for name, want := range map[string]string{"Retry-After": "7", "X-Ratelimit-Limit-Requests": "3", "X-Ratelimit-Reset-Tokens": "1s", "X-Request-Id": "req_1", "Openai-Processing-Ms": "12",
				"Set-Cookie": "", "Location": "", "Server": "Caddy", "X-Powered-By": "", "Etag": "", "Access-Control-Allow-Origin": "", "Strict-Transport-Security": "", "X-Ratelimit-Long": "", "Via": "", "Content-Encoding": ""} {
				if got := a.header.Get(name); got != want {
					t.Errorf("%d, stream %v: %s is %q", status, stream, name, got)
				}
			}
		}
	}
}

// TestLoss: what cannot be carried over is in a header, in the log and counted; a
// strict gateway refuses it.
func TestLoss(t *testing.T) {
	_, addr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Responses}})
	site := func(more string) string {
		return "metrics /metrics\n route /other/* {\n chat2response " + addr + "\n}\n chat2response " + addr + " {\n mode responses\n dialect openai\n " + more + "\n}"
	}
	g := start(t, site(""))
	counted := func(metric string) float64 {
		for _, line := range strings.Split(g.get("/metrics").body, "\n") {
			if name, value, _ := strings.Cut(line, " "); name == metric {
				n, _ := strconv.ParseFloat(value, 64)
				return n
			}
		}
		return 0
	}
	seed := `caddy_chat2response_conversion_lossy_total{field="seed"}`
	answered := `caddy_chat2response_requests_total{mode="responses",outcome="completed",route="chat"}`
	lossy, before := counted(seed), counted(answered)
	takeLogs()
	for i, stream := range []bool{true, false} {
		a := g.post("/v1/chat/completions", fmt.Sprintf(`{"model":"fake-text","messages":[{"role":"user","content":"Hi"}],"seed":7,"stream":%v}`, stream))
		if got := a.header.Get("X-Chat2Response-Warnings"); a.status != 200 || !strings.Contains(got, "seed=dropped") {
			t.Errorf("%d, warnings %q", a.status, got)
		}
		e := g.accessLog()
		if got := fmt.Sprint(e["chat2response_warnings"]); !strings.Contains(got, "seed=dropped") {
			t.Errorf("logged warnings %q", got)
		}
		for name, want := range map[string]any{"chat2response_route": "chat", "chat2response_mode": "responses", "chat2response_outcome": "completed", "chat2response_model": "fake-text", "chat2response_stream": stream} {
			if e[name] != want {
				t.Errorf("%s is logged as %v", name, e[name])
			}
		}
		if e["chat2response_input_tokens"] == nil || e["chat2response_output_tokens"] == nil {
			t.Errorf("the log has no usage: %v", e)
		}
		// The counters survive a reload, and several sites share them.
		g.load(site("keep_alive " + strconv.Itoa(i+1) + "s"))
	}
	if got := counted(seed) - lossy; got != 2 {
		t.Errorf("%v losses were counted", got)
	}
	if got := counted(answered) - before; got != 2 {
		t.Errorf("%v answers were counted", got)
	}
	if a := g.post("/v1/chat/completions", chatBody("fake-text", false)); a.header.Get("X-Chat2Response-Warnings") != "" {
		t.Errorf("warnings of a request that loses nothing: %v", a.header)
	}
	g.load(site("strict"))
	takeLogs()
	a := g.post("/v1/chat/completions", `{"model":"fake-text","messages":[{"role":"user","content":"Hi"}],"seed":7}`)
	if e := a.openAIError(t); a.status != 400 || e.code() != "unsupported_parameter" || e.param() != "seed" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if e := g.accessLog(); e["chat2response_outcome"] != "refused" {
		t.Errorf("logged as %v", e["chat2response_outcome"])
	}
}

// TestManyLosses do not make a header that no proxy takes.
func TestManyLosses(t *testing.T) {
	_, addr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Responses}})
	g := start(t, "chat2response "+addr+" {\n mode responses\n}")
	var messages []string
	for i := range 500 {
		messages = append(messages, fmt.Sprintf(`{"role":"user","content":"Hi","name":"n%d","ünknown\r\n":1}`, i))
	}
	a := g.post("/v1/chat/completions", `{"model":"fake-text","messages":[`+strings.Join(messages, ",")+`]}`)
	got := a.header.Get("X-Chat2Response-Warnings")
	if a.status != 200 || len(got) > 2100 || len(got) < 1000 || !strings.Contains(got, "messages[0].name=dropped") || !strings.HasSuffix(got, " more") {
		t.Errorf("%d, %d bytes: %q", a.status, len(got), got)
	}
	if got := fmt.Sprint(g.accessLog()["chat2response_warnings"]); len(got) > 2100 {
		t.Errorf("%d bytes are logged", len(got))
	}
}

// TestSecretsInErrors: a message that repeats a key loses it.
func TestSecretsInErrors(t *testing.T) {
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(401)
		fmt.Fprintf(w, `{"error":{"message":"Incorrect API key provided: %s at https://user:hunter2@host/","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	})
	g := start(t, "chat2response "+addr+" {\n mode chat\n api_key sk-gateway-secret-123\n allow_anonymous\n}")
	a := g.post("/v1/responses", responsesBody("m", false))
	if e := a.openAIError(t); a.status != 401 || strings.Contains(a.body, "secret") || strings.Contains(a.body, "hunter2") || !strings.Contains(e.Message, "Incorrect API key") {
		t.Errorf("%d %s", a.status, a.body)
	}
	for _, e := range takeLogs() {
		if strings.Contains(fmt.Sprint(e), "secret") {
			t.Errorf("logged: %v", e)
		}
	}
}

// TestForwardedFor: a trusted proxy in front is believed on every lane, another is
// not; and the model is at hand for header_up.
func TestForwardedFor(t *testing.T) {
	for option, want := range map[string]string{"trusted_proxies 127.0.0.0/8": "192.0.2.7, 127.0.0.1", "": "127.0.0.1"} {
		addr, header := seen(t, fakeopenai.Chat)
		g := start(t, "chat2response "+addr+" {\n mode chat\n header_up X-Model {http.chat2response.model}\n header_up X-Route {http.chat2response.route}\n "+option+"\n}")
		for path, route := range map[string]string{"/v1/responses": "responses", "/v1/chat/completions": "chat"} {
			body, model := chatBody("fake-text", false), ""
			if route == "responses" {
				body, model = responsesBody("fake-text", false), "fake-text"
			}
			g.post(path, body, "X-Forwarded-For", "192.0.2.7")
			if got := header(); got.Get("X-Forwarded-For") != want || got.Get("X-Model") != model || got.Get("X-Route") != route {
				t.Errorf("%s, %q: %v", path, option, got)
			}
		}
	}
}
