package chat2response

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"

	"github.com/labiium/chat2response/internal/fakeopenai"
)

var bothAPIs = []fakeopenai.API{fakeopenai.Chat, fakeopenai.Responses}

// TestProxy: /proxy takes either body and always answers as Responses.
func TestProxy(t *testing.T) {
	for _, api := range bothAPIs {
		up, addr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{api}})
		g := start(t, fmt.Sprintf("chat2response %s {\n mode %s\n dialect openai\n}", addr, api))
		for name, body := range map[string]func(string, bool) string{"chat body": chatBody, "responses body": responsesBody} {
			for _, path := range []string{"/proxy", "/v1/proxy"} {
				t.Run(fmt.Sprintf("%s, %s upstream, %s", name, api, path), func(t *testing.T) {
					up.Reset()
					a := g.post(path, body("fake-text", false))
					m := object(t, []byte(a.body))
					if a.status != 200 || m["object"] != "response" || m["status"] != "completed" || dig(m, "output", 0, "content", 0, "text") != "Hello! I am a fake model. How can I help you today?" ||
						dig(m, "usage", "input_tokens") == nil {
						t.Errorf("%d %s", a.status, a.body)
					}
					a = g.post(path, body("fake-text", true))
					events := a.events()
					got := kinds(events)
					if a.status != 200 || text(events) != "Hello! I am a fake model. How can I help you today?" || count(got, "response.completed") != 1 || got[0] != "response.created" ||
						a.header.Get("Content-Type") != "text/event-stream" && !strings.HasPrefix(a.header.Get("Content-Type"), "text/event-stream;") {
						t.Errorf("%d %q", a.status, got)
					}
					usage := dig(object(t, []byte(events[slices.Index(got, "response.completed")].data)), "response", "usage", "total_tokens")
					if usage == nil || usage == 0.0 {
						t.Errorf("usage %v", usage)
					}
					for _, r := range up.Requests() {
						if want := map[fakeopenai.API]string{fakeopenai.Chat: "/v1/chat/completions", fakeopenai.Responses: "/v1/responses"}[api]; r.Path != want {
							t.Errorf("asked %s of the upstream", r.Path)
						}
					}
				})
			}
		}
		for body, want := range map[string]string{`{"model":"m"}`: "missing_required_parameter", `{"model":"m","messages":[],"input":"x"}`: "invalid_value", `[`: "invalid_type", `{`: "invalid_json"} {
			if a := g.post("/proxy", body); a.status != 400 || a.openAIError(t).code() != want {
				t.Errorf("%s: %d %s", body, a.status, a.body)
			}
		}
	}
}

// TestConvert: /convert answers with the other API's request and asks no model.
func TestConvert(t *testing.T) {
	for _, api := range bothAPIs {
		up, addr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{api}})
		g := start(t, fmt.Sprintf("chat2response %s {\n mode %s\n alias mine theirs\n}", addr, api))
		for _, path := range []string{"/convert", "/v1/convert"} {
			a := g.post(path, `{"model":"mine","messages":[{"role":"system","content":"Be short."},{"role":"user","content":"Hello"}],"max_tokens":50,"seed":7}`)
			m := object(t, []byte(a.body))
			if a.status != 200 || dig(m, "input", 1, "content") == nil || m["max_output_tokens"] != 50.0 || m["messages"] != nil || m["model"] != "theirs" {
				t.Errorf("%d %s", a.status, a.body)
			}
			if w := a.header.Get("X-Chat2Response-Warnings"); !strings.Contains(w, "seed=dropped") {
				t.Errorf("warnings %q", w)
			}
			a = g.post(path, `{"model":"mine","instructions":"Be short.","input":"Hello","max_output_tokens":50}`)
			m = object(t, []byte(a.body))
			if a.status != 200 || len(dig(m, "messages").([]any)) != 2 || m["input"] != nil || m["model"] != "theirs" {
				t.Errorf("%d %s", a.status, a.body)
			}
			if a := g.post(path, `{"model":"m"}`); a.status != 400 {
				t.Errorf("%d %s", a.status, a.body)
			}
		}
		if n := len(up.Requests()); n != 0 {
			t.Errorf("the upstream was asked %d times", n)
		}
	}
}

func TestStatus(t *testing.T) {
	g := start(t, "chat2response {\n upstream gpt-* {\n to localhost:1\n mode chat\n dialect vllm\n }\n upstream * {\n to localhost:2\n }\n}")
	for _, path := range []string{"/status", "/v1/status", "/status/"} {
		a := g.get(path)
		m := object(t, []byte(a.body))
		if a.status != 200 || m["name"] != "chat2response" || m["proxy_enabled"] != true || dig(m, "routes", 0) == nil || m["version"] == "" ||
			dig(m, "upstreams", 0, "mode") != "chat" || dig(m, "upstreams", 0, "dialect") != "vllm" || dig(m, "upstreams", 1, "mode") != "responses" || dig(m, "upstreams", 0, "models", 0) != "gpt-*" {
			t.Errorf("%d %s", a.status, a.body)
		}
		if strings.Contains(a.body, "localhost") || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v %s", a.header, a.body)
		}
	}
	if a := g.do(http.MethodHead, "/status", ""); a.status != 200 || a.body != "" || a.header.Get("Content-Length") == "" {
		t.Errorf("HEAD: %d %v", a.status, a.header)
	}
}

// TestPassThrough: the rest of the API goes to the upstream as it is, and comes
// back as it is.
func TestPassThrough(t *testing.T) {
	for _, api := range bothAPIs {
		for _, base := range []string{"/v1", ""} {
			t.Run(fmt.Sprintf("%s%s", api, base), func(t *testing.T) {
				up, addr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{api}, APIKey: "k"})
				g := start(t, fmt.Sprintf("chat2response %s {\n mode %s\n}", addr, api))
				c := openai.NewClient(option.WithBaseURL(g.url+base), option.WithAPIKey("k"), option.WithMaxRetries(0), option.WithHTTPClient(client))
				models, err := c.Models.List(context.Background())
				if err != nil || len(models.Data) < 10 {
					t.Fatal(explain(err))
				}
				if m, err := c.Models.Get(context.Background(), "fake-text"); err != nil || m.ID != "fake-text" {
					t.Error(m, err)
				}
				e, err := c.Embeddings.New(context.Background(), openai.EmbeddingNewParams{Model: "fake-embedding", Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"a", "b"}}})
				if err != nil || len(e.Data) != 2 || len(e.Data[1].Embedding) != 4 {
					t.Error(e, err)
				}
				if a := g.get(base + "/models/none"); a.status != 401 || !strings.Contains(a.body, "You didn't provide an API key") {
					t.Errorf("%d %s", a.status, a.body)
				}
				// The two main paths without /v1 too.
				if a, err := c.Chat.Completions.New(context.Background(), openai.ChatCompletionNewParams{Model: "fake-text", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Hi")}}); err != nil || a.Choices[0].Message.Content == "" {
					t.Error(explain(err))
				}
				if a, err := c.Responses.New(context.Background(), responses.ResponseNewParams{Model: "fake-text", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("Hi")}}); err != nil || a.OutputText() == "" {
					t.Error(explain(err))
				}
				want := []string{"/v1/models", "/v1/models/fake-text", "/v1/embeddings", "/v1/models/none"}
				for i, r := range up.Requests()[:len(want)] {
					if r.Path != want[i] {
						t.Errorf("%s instead of %s", r.Path, want[i])
					}
				}
			})
		}
	}
}

// TestPassThroughBytes: method, query, path and body arrive as they were sent, and
// nothing of the answer changes.
func TestPassThroughBytes(t *testing.T) {
	var got *http.Request
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.Header().Set("X-Of-The-Upstream", "1")
		w.WriteHeader(http.StatusTeapot)
		w.Write([]byte("not JSON"))
	})
	g := start(t, "chat2response http://"+addr+"/openai/v1 {\n mode chat\n}")
	for path, want := range map[string]string{
		"/v1/models/meta%2Fllama?limit=2&after=a%20b": "/openai/v1/models/meta%2Fllama?limit=2&after=a%20b",
		"/v1/models/meta/llama":                       "/openai/v1/models/meta/llama",
		"/models/a%20b%C3%A4":                         "/openai/v1/models/a%20b%C3%A4",
		"/v1/audio/speech/":                           "/openai/v1/audio/speech/",
		"/v1/whatever/comes?":                         "/openai/v1/whatever/comes?",
		"/v1//models":                                 "/openai/v1//models",
	} {
		a := g.do(http.MethodPatch, path, "any bytes", "Content-Type", "text/plain", "Cookie", "c=1")
		if a.status != http.StatusTeapot || a.body != "not JSON" || a.header.Get("X-Of-The-Upstream") != "1" {
			t.Errorf("%s: %d %s %v", path, a.status, a.body, a.header)
			continue
		}
		if got.RequestURI != want || got.Method != http.MethodPatch || got.Header.Get("Cookie") != "c=1" || got.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("%s: %s %s %v", path, got.Method, got.RequestURI, got.Header)
		}
	}
}

// TestNext: what is no path of the API goes to the next handler, and so does what
// would lead out of the API.
func TestNext(t *testing.T) {
	_, addr := fake(t, fakeopenai.Options{})
	g := start(t, "route {\n chat2response "+addr+" {\n mode chat\n }\n respond \"next\" 202\n}")
	for _, path := range []string{"/", "/v1", "/v1/", "/index.html", "/v2/chat/completions", "/v10/models", "/chatter", "/x/v1/models",
		"/v1/../metrics", "/v1/models/../../metrics", "/v1/..%2fmetrics", "/v1/%2e%2e/metrics", "/models/../../x"} {
		r, _ := http.NewRequest(http.MethodGet, g.url, nil)
		r.URL.Opaque = path // as it is, not cleaned
		if a := g.send(r); a.status != 202 || a.body != "next" {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	for _, path := range []string{"/v1/chat/completions/", "/chat/completions", "/v1//chat/completions", "/responses/"} {
		body := chatBody("fake-text", false)
		if strings.Contains(path, "responses") {
			body = responsesBody("fake-text", false)
		}
		if a := g.post(path, body); a.status != 200 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

func TestMethods(t *testing.T) {
	_, addr := fake(t, fakeopenai.Options{})
	g := start(t, "chat2response "+addr+" {\n mode chat\n}")
	for path, allow := range map[string]string{"/v1/chat/completions": "POST", "/v1/responses": "POST", "/proxy": "POST", "/convert": "POST", "/status": "GET, HEAD"} {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST"} {
			if strings.Contains(allow, method) || method == "HEAD" && path == "/status" {
				continue
			}
			a := g.do(method, path, "")
			if a.status != 405 || a.header.Get("Allow") != allow {
				t.Errorf("%s %s: %d, Allow %q", method, path, a.status, a.header.Get("Allow"))
			}
			if method != "HEAD" {
				if e := a.openAIError(t); e.Type != "invalid_request_error" || e.code() != "method_not_allowed" {
					t.Errorf("%s %s: %s", method, path, a.body)
				}
			}
			if e := g.accessLog(); e["chat2response_outcome"] != "refused" {
				t.Errorf("%s %s: logged as %v", method, path, e["chat2response_outcome"])
			}
		}
	}
}

// TestWebSocket: Codex goes on with POST after a 426, and after nothing else.
func TestWebSocket(t *testing.T) {
	_, addr := fake(t, fakeopenai.Options{})
	for _, mode := range []string{"chat", "responses"} {
		g := start(t, "chat2response "+addr+" {\n mode "+mode+"\n}")
		for _, path := range []string{"/v1/responses", "/responses"} {
			a := g.get(path, "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
			if a.status != 426 || a.openAIError(t).code() != "websocket_not_supported" {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
	}
}

// TestStoredResponses: a Chat upstream keeps none, a Responses upstream is asked.
func TestStoredResponses(t *testing.T) {
	_, chat := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Chat}})
	_, resp := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Responses}})
	g := start(t, "chat2response "+chat+" {\n mode chat\n state off\n}")
	if a := g.get("/v1/responses/resp_1"); a.status != 404 || !strings.Contains(a.openAIError(t).Message, "keeps no responses") {
		t.Errorf("%d %s", a.status, a.body)
	}
	g = start(t, "chat2response {\n upstream fake-text {\n to "+chat+"\n mode chat\n }\n upstream fake-echo {\n to "+resp+"\n mode responses\n }\n}")
	id := object(t, []byte(g.post("/v1/responses", `{"model":"fake-echo","input":"Hi","store":true}`).body))["id"].(string)
	if a := g.get("/v1/responses/" + id); a.status != 200 || !strings.Contains(a.body, id) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := g.post("/v1/responses/compact", responsesBody("fake-text", false)); a.status != 200 || !strings.Contains(a.body, `"c2r2.`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := g.post("/v1/responses/compact", responsesBody("fake-echo", false)); strings.Contains(a.body, `"c2r2.`) {
		t.Errorf("not the upstream's own: %d %s", a.status, a.body)
	}
}

// TestQuery: of a translated request the query is of the wrong API, but for what
// Azure wants; untranslated it stays.
func TestQuery(t *testing.T) {
	got := make(chan string, 1)
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) { got <- r.RequestURI })
	g := start(t, "chat2response "+addr+" {\n mode chat\n}")
	for path, want := range map[string]string{
		"/v1/responses?beta=true&x=%2F":                    "/v1/chat/completions",
		"/v1/responses?api-version=2026-01-01&include[]=a": "/v1/chat/completions?api-version=2026-01-01",
		"/v1/chat/completions?x=%2F&y":                     "/v1/chat/completions?x=%2F&y",
	} {
		body := chatBody("m", false)
		if strings.Contains(path, "responses") {
			body = responsesBody("m", false)
		}
		g.post(path, body)
		if uri := <-got; uri != want {
			t.Errorf("%s: %s", path, uri)
		}
	}
}
