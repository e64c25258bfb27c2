package fakeopenai

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
)

// TestTransport: what is refused before a request is read as one.
func TestTransport(t *testing.T) {
	chatOnly := New(Options{APIs: []API{Chat}})
	keyed := New(Options{APIKey: "sk-right"})
	good := chatBody("")
	notJSON := "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble figuring out how to fix this, please contact us through our help center at help.openai.com.)"
	for _, c := range []struct {
		name               string
		s                  *Server
		method, path, body string
		header             [2]string
		status             int
		want               string
	}{
		{"wrong method", New(Options{}), "GET", "/v1/chat/completions", "", [2]string{}, 405, openAIError("Not allowed to GET on /v1/chat/completions. (HINT: Perhaps you meant to use a different HTTP method?)", `null`, `"method_not_supported"`)},
		{"wrong method of models", New(Options{}), "POST", "/v1/models", "{}", [2]string{}, 405, openAIError("Not allowed to POST on /v1/models. (HINT: Perhaps you meant to use a different HTTP method?)", `null`, `"method_not_supported"`)},
		{"unknown path", New(Options{}), "POST", "/v1/completions", good, [2]string{}, 404, openAIError("Invalid URL (POST /v1/completions)", `null`, `null`)},
		{"an API it does not serve", chatOnly, "POST", "/v1/responses", inputBody(""), [2]string{}, 404, openAIError("Invalid URL (POST /v1/responses)", `null`, `null`)},
		{"wrong media type", New(Options{}), "POST", "/v1/chat/completions", good, [2]string{"Content-Type", "text/plain"}, 400, openAIError("Unsupported content type: 'text/plain'. This API method only accepts 'application/json' requests, but you specified the header 'Content-Type: text/plain'. Please try again with a supported content type.", `null`, `"unsupported_content_type"`)},
		{"no JSON", New(Options{}), "POST", "/v1/chat/completions", "{", [2]string{}, 400, openAIError(notJSON, `null`, `null`)},
		{"no object", New(Options{}), "POST", "/v1/chat/completions", "null", [2]string{}, 400, openAIError(notJSON, `null`, `null`)},
		{"trailing bytes", New(Options{}), "POST", "/v1/chat/completions", good + "x", [2]string{}, 400, openAIError(notJSON, `null`, `null`)},
		{"duplicate names", New(Options{}), "POST", "/v1/chat/completions", chatBody(`,"model":"m"`), [2]string{}, 400, openAIError(notJSON, `null`, `null`)},
		{"bad UTF-8", New(Options{}), "POST", "/v1/responses", "{\"model\":\"m\",\"input\":\"\xff\"}", [2]string{}, 400, openAIError(notJSON, `null`, `null`)},
		{"wrong key", keyed, "POST", "/v1/chat/completions", good, [2]string{"Authorization", "Bearer sk-wrong"}, 401, openAIError("Incorrect API key provided: sk-****. You can find your API key at https://platform.openai.com/account/api-keys.", `null`, `"invalid_api_key"`)},
		{"no key", keyed, "GET", "/v1/models", "", [2]string{}, 401, openAIError("You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the API from your browser and are prompted for a username and password. You can obtain an API key from https://platform.openai.com/account/api-keys.", `null`, `null`)},
		{"a key of another scheme", keyed, "GET", "/v1/models", "", [2]string{"Authorization", "Basic c2s="}, 401, ""},
		{"right key", keyed, "POST", "/v1/chat/completions", good, [2]string{"Authorization", "Bearer sk-right"}, 200, ""},
		{"Azure's own header", New(Options{APIKey: "k", Dialect: "azure"}), "GET", "/openai/v1/models", "", [2]string{"Api-Key", "k"}, 200, ""},
		{"Azure's header elsewhere", New(Options{APIKey: "k"}), "GET", "/v1/models", "", [2]string{"Api-Key", "k"}, 401, ""},
		{"no scenario of this name", New(Options{}), "POST", "/v1/chat/completions", strings.Replace(good, `"m"`, `"fake-nothing"`, 1), [2]string{}, 404, openAIError("The model `fake-nothing` does not exist or you do not have access to it.", `null`, `"model_not_found"`)},
		{"unknown stored response", New(Options{}), "GET", "/v1/responses/resp_x", "", [2]string{}, 404, openAIError("Response with id 'resp_x' not found.", `null`, `null`)},
		{"unknown model", New(Options{}), "GET", "/v1/models/x", "", [2]string{}, 404, openAIError("The model 'x' does not exist", `"model"`, `"model_not_found"`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
			r.Header.Set("Content-Type", "application/json; charset=utf-8")
			if c.header[0] != "" {
				r.Header.Set(c.header[0], c.header[1])
			}
			w := httptest.NewRecorder()
			c.s.ServeHTTP(w, r)
			if w.Code != c.status {
				t.Errorf("status %d, want %d: %s", w.Code, c.status, w.Body)
			}
			if c.want != "" {
				same(t, w.Body.String(), c.want)
			}
			if (w.Code == 405) != (w.Header().Get("Allow") != "") {
				t.Errorf("Allow: %q", w.Header().Get("Allow"))
			}
			if w.Header().Get("X-Request-Id") == "" {
				t.Error("no request id")
			}
		})
	}
}

func TestScenarioByModel(t *testing.T) {
	s := New(Options{Scenario: "refusal"})
	for model, want := range map[string]string{
		"fake-text":                    "I am a fake model",
		"openai/gpt-9/fake-text":       "I am a fake model",
		"gpt-9":                        "I can't help with that",
		"fakes-text":                   "I can't help with that",
		"anything/fake-text/but-later": "I can't help with that",
	} {
		if _, body := send(s, "/v1/chat/completions", strings.Replace(chatBody(""), `"m"`, `"`+model+`"`, 1)); !strings.Contains(body, want) {
			t.Errorf("%s: no %q in %s", model, want, body)
		}
	}
}

func TestRequests(t *testing.T) {
	s := New(Options{})
	for i := range maxRequests + 5 {
		send(s, "/v1/chat/completions", fmt.Sprintf(`{"n":%d}`, i))
	}
	list := s.Requests()
	if len(list) != maxRequests || string(list[0].Body) != `{"n":5}` || string(list[maxRequests-1].Body) != fmt.Sprintf(`{"n":%d}`, maxRequests+4) {
		t.Fatalf("%d requests, from %s to %s", len(list), list[0].Body, list[len(list)-1].Body)
	}
	if r := list[0]; r.Method != "POST" || r.Path != "/v1/chat/completions" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%+v", r)
	}
	s.Reset()
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests after Reset", n)
	}
}

func TestModelsAndEmbeddings(t *testing.T) {
	_, web := serve(t, Options{Models: []string{"a", "b/c"}})
	c := openai.NewClient(option.WithBaseURL(web.URL+"/v1"), option.WithAPIKey("k"), option.WithMaxRetries(0), option.WithHTTPClient(web.Client()))
	page, err := c.Models.List(context.Background())
	if err != nil || len(page.Data) != 2 || page.Data[1].ID != "b/c" {
		t.Errorf("%v %v", page, err)
	}
	if m, err := c.Models.Get(context.Background(), "a"); err != nil || m.ID != "a" {
		t.Errorf("%v %v", m, err)
	}
	e, err := c.Embeddings.New(context.Background(), openai.EmbeddingNewParams{Model: "a", Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"x", "yyy"}}})
	if err != nil || len(e.Data) != 2 || len(e.Data[1].Embedding) != 4 || e.Data[1].Embedding[2] != 0.375 || e.Usage.TotalTokens != 2 {
		t.Errorf("%+v %v", e, err)
	}
	_, body := post(t, web.URL+"/v1/embeddings", `{"model":"a","input":"x","encoding_format":"base64"}`)
	if got := walk(parse(t, string(body)), "data", 0, "embedding"); got != "AAAAPwAAAL8AAAA+AABgPw==" {
		t.Errorf("base64 %v", got)
	}
	if names := New(Options{}).models(); len(names) != len(Scenarios()) || names[0] != "fake-"+Scenarios()[0] {
		t.Errorf("models %v", names)
	}
}

// tape records each Write and Flush of a handler.
type tape struct {
	http.ResponseWriter
	writes []string
	calls  string // w and f, in order
}

func (t *tape) Write(b []byte) (int, error) {
	t.writes, t.calls = append(t.writes, string(b)), t.calls+"w"
	return len(b), nil
}
func (t *tape) Flush() { t.calls += "f" }

func TestOneEventOneWriteOneFlush(t *testing.T) {
	for _, c := range []struct{ path, body, want string }{
		{"/v1/chat/completions", strings.Replace(chatBody(`,"stream":true`), `"m"`, `"fake-tools"`, 1), "data: "},
		{"/v1/responses", strings.Replace(inputBody(`,"stream":true`), `"m"`, `"fake-text"`, 1), "event: "},
	} {
		w := &tape{ResponseWriter: httptest.NewRecorder()}
		r := httptest.NewRequest("POST", c.path, strings.NewReader(c.body))
		r.Header.Set("Content-Type", "application/json")
		New(Options{}).ServeHTTP(w, r)
		if w.calls != "f"+strings.Repeat("wf", len(w.writes)) || len(w.writes) < 5 {
			t.Errorf("%s", w.calls)
		}
		for _, event := range w.writes {
			if !strings.HasPrefix(event, c.want) || strings.Index(event, "\n\n") != len(event)-2 {
				t.Errorf("not one event: %q", event)
			}
		}
		if got := w.Header().Get("Content-Type"); got != "text/event-stream; charset=utf-8" {
			t.Errorf("Content-Type %q", got)
		}
	}
}

// TestDelay: events come one by one, and not after the client has left.
func TestDelay(t *testing.T) {
	_, web := serve(t, Options{Delay: 30 * time.Millisecond})
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	r, _ := http.NewRequestWithContext(ctx, "POST", web.URL+"/v1/chat/completions", strings.NewReader(chatBody(`,"stream":true`)))
	r.Header.Set("Content-Type", "application/json")
	begun := time.Now()
	answer, err := web.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for n := 0; n < 3 && lines.Scan(); {
		if lines.Text() != "" {
			n++
		}
	}
	if took := time.Since(begun); took < 60*time.Millisecond || took > 3*time.Second {
		t.Errorf("three events took %v", took)
	}
}

// TestBreakages: how each broken scenario ends, streamed and not, in both APIs.
func TestBreakages(t *testing.T) {
	_, web := serve(t, Options{})
	for _, c := range []struct {
		scenario       string
		stream         bool
		wantErr        bool // reading the body fails
		chat, response string
	}{
		{"cut", true, true, `"content":" be"`, `"delta":" be"`},
		{"cut", false, true, `{"id":"chatcmpl-`, `{"id":"resp_`},
		{"cut_early", true, true, "", ""},
		{"cut_early", false, true, "", ""},
		{"midstream", true, false, `data: {"error":{`, "event: response.failed"},
		{"midstream", false, false, `{"error":{"message":"The server had an error`, `"status":"failed"`},
		{"nonjson", true, false, "<h1>It works!</h1>", "<h1>It works!</h1>"},
		{"nonjson", false, false, "<h1>It works!</h1>", "<h1>It works!</h1>"},
	} {
		for path, body := range map[string]string{
			"/v1/chat/completions": fmt.Sprintf(`{"model":"fake-%s","messages":[%s],"stream":%v}`, c.scenario, userHi, c.stream),
			"/v1/responses":        fmt.Sprintf(`{"model":"fake-%s","input":"hi","stream":%v}`, c.scenario, c.stream),
		} {
			r, err := web.Client().Post(web.URL+path, "application/json", strings.NewReader(body))
			if err != nil {
				t.Fatalf("%s %v %s: %v", c.scenario, c.stream, path, err)
			}
			got, err := io.ReadAll(r.Body)
			r.Body.Close()
			if (err != nil) != c.wantErr {
				t.Errorf("%s %v %s: error %v", c.scenario, c.stream, path, err)
			}
			want := c.chat
			if strings.HasSuffix(path, "responses") {
				want = c.response
			}
			if !strings.Contains(string(got), want) || want == "" && len(got) > 0 {
				t.Errorf("%s %v %s: no %s in %s", c.scenario, c.stream, path, want, got)
			}
			if c.scenario == "cut" && c.stream && strings.Contains(string(got), "finish_reason\":\"") {
				t.Errorf("%s %s: finished", c.scenario, path)
			}
		}
	}
}

// TestStall: text, then silence until the client leaves.
func TestStall(t *testing.T) {
	s, web := serve(t, Options{Scenario: "stall"})
	for _, stream := range []bool{true, false} {
		ctx, leave := context.WithTimeout(context.Background(), 150*time.Millisecond)
		r, _ := http.NewRequestWithContext(ctx, "POST", web.URL+"/v1/responses", strings.NewReader(fmt.Sprintf(`{"model":"m","input":"hi","stream":%v}`, stream)))
		r.Header.Set("Content-Type", "application/json")
		answer, err := web.Client().Do(r)
		if !stream {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("not streamed: %v", err)
			}
			leave()
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(string(body), `"delta":" be"`) || strings.Contains(string(body), "response.completed") {
			t.Errorf("%v %s", err, body)
		}
		leave()
	}
	if n := len(s.Requests()); n != 2 {
		t.Errorf("%d requests", n)
	}
}

// TestFailuresBySDK: OpenAI's client must read each failure as one.
func TestFailuresBySDK(t *testing.T) {
	c := client(t, Options{})
	for scenario, want := range map[string]struct {
		status          int
		kind, chat, now string
	}{
		"error400":    {400, "invalid_request_error", "context_length_exceeded", "context_length_exceeded"},
		"error401":    {401, "invalid_request_error", "invalid_api_key", "invalid_api_key"},
		"error404":    {404, "invalid_request_error", "model_not_found", "model_not_found"},
		"error429":    {429, "requests", "rate_limit_exceeded", "rate_limit_exceeded"},
		"error500":    {500, "server_error", "", ""},
		"error503":    {503, "service_unavailable_error", "", ""},
		"errorfilter": {400, "invalid_request_error", "content_filter", "invalid_prompt"},
	} {
		_, chatErr := c.Chat.Completions.New(context.Background(), openai.ChatCompletionNewParams{}, request(Chat, scenario, false))
		_, newErr := c.Responses.New(context.Background(), responses.ResponseNewParams{}, request(Responses, scenario, false))
		stream := c.Responses.NewStreaming(context.Background(), responses.ResponseNewParams{}, request(Responses, scenario, true))
		if stream.Next() {
			t.Errorf("%s streams", scenario)
		}
		for _, got := range []struct {
			err  error
			code string
		}{{chatErr, want.chat}, {newErr, want.now}, {stream.Err(), want.now}} {
			var e *openai.Error
			if !errors.As(got.err, &e) {
				t.Errorf("%s: %v", scenario, got.err)
				continue
			}
			if e.StatusCode != want.status || e.Type != want.kind || e.Code != got.code {
				t.Errorf("%s: %d %q %q %s", scenario, e.StatusCode, e.Type, e.Code, e.RawJSON())
			}
			if h := e.Response.Header; scenario == "error429" && (h.Get("Retry-After") != "1" || h.Get("x-ratelimit-remaining-requests") != "0") {
				t.Errorf("%s: header %v", scenario, h)
			}
		}
	}
	chatStream := c.Chat.Completions.NewStreaming(context.Background(), openai.ChatCompletionNewParams{}, request(Chat, "midstream", true))
	for chatStream.Next() {
	}
	if err := chatStream.Err(); err == nil || !strings.Contains(err.Error(), "The server had an error") {
		t.Errorf("midstream: %v", err)
	}
}

func TestStoredResponses(t *testing.T) {
	_, web := serve(t, Options{})
	c := openai.NewClient(option.WithBaseURL(web.URL), option.WithAPIKey("k"), option.WithMaxRetries(0), option.WithHTTPClient(web.Client()))
	made, err := c.Responses.New(context.Background(), responses.ResponseNewParams{Model: "m", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("hi")}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Responses.Get(context.Background(), made.ID, responses.ResponseGetParams{})
	if err != nil || got.OutputText() != made.OutputText() || got.OutputText() == "" {
		t.Errorf("%v %v", got, err)
	}
	if err := c.Responses.Delete(context.Background(), made.ID); err != nil {
		t.Error(err)
	}
	if _, err := c.Responses.Get(context.Background(), made.ID, responses.ResponseGetParams{}); err == nil {
		t.Error("deleted, and still there")
	}
}

// TestSamplingLimits: max tokens and stop are honoured, n copies the answer.
func TestSamplingLimits(t *testing.T) {
	s := New(Options{})
	for body, want := range map[string]string{
		chatBody(`,"max_tokens":3`):            `"content":"Hello! I am","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"length"`,
		chatBody(`,"max_completion_tokens":1`): `"content":"Hello!","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"length"`,
		chatBody(`,"stop":["fake","zzz"]`):     `"content":"Hello! I am a ","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"`,
		chatBody(`,"n":2`):                     `{"index":1,"message":{"role":"assistant","content":"Hello! I am a fake model.`,
	} {
		if _, got := send(s, "/v1/chat/completions", body); !strings.Contains(got, want) {
			t.Errorf("%s: no %s in %s", body, want, got)
		}
	}
	_, got := send(s, "/v1/responses", strings.Replace(inputBody(`,"max_output_tokens":16`), `"m"`, `"fake-long"`, 1))
	if !strings.Contains(got, `"status":"incomplete"`) || !strings.Contains(got, `"reason":"max_output_tokens"`) || !strings.Contains(got, ` word15"`) {
		t.Errorf("%s", got)
	}
}

// TestToolsMatter: calls obey what the request says of tools.
func TestToolsMatter(t *testing.T) {
	s := New(Options{})
	other := `{"type":"function","function":{"name":"book","parameters":{"type":"object","properties":{"day":{"type":"string","format":"date"},"seats":{"type":"integer","minimum":2},"kind":{"enum":["window","aisle"]},"who":{"type":"array","items":{"type":"string"}},"note":{"type":"string"}},"required":["day","seats","kind","who"]}}}`
	for _, c := range []struct{ scenario, extra, want string }{
		{"tool", ``, `"content":"No tool was offered."`},
		{"tool", `,"tools":[` + other + `]`, `"function":{"name":"book","arguments":"{\"day\":\"2026-11-22\",\"seats\":3,\"kind\":\"window\",\"who\":[\"value 1\"]}"}`},
		{"tool", `,"tools":[` + other + `,` + weatherTool + `]`, `"function":{"name":"get_weather","arguments":"{\"city\":\"Paris\"}"}`},
		{"tool", `,"tools":[` + weatherTool + `,` + other + `],"tool_choice":{"type":"function","function":{"name":"book"}}`, `"name":"book"`},
		{"tool", `,"tools":[` + weatherTool + `],"tool_choice":"none"`, `"content":"I may not call a tool."`},
		{"tools", `,"tools":[` + weatherTool + `],"parallel_tool_calls":false`, `"arguments":"{\"city\":\"Paris\"}"}}]}`},
		{"tools", `,"tools":[` + other + `,` + strings.Replace(other, "book", "cancel", 1) + `]`, `"name":"cancel","arguments":"{\"day\":\"2026-11-22\",\"seats\":4,\"kind\":\"aisle\"`},
		{"tool", `,"functions":[{"name":"get_weather"}],"function_call":"auto"`, `"function_call":{"name":"get_weather","arguments":"{\"city\":\"Paris\"}"}},"logprobs":null,"finish_reason":"function_call"`},
		{"custom", `,"tools":[` + weatherTool + `]`, `"content":"No tool of the right kind was offered."`},
		{"namespaced", `,"tools":[` + weatherTool + `,` + strings.Replace(weatherTool, "get_weather", "ns__get", 1) + `]`, `"name":"ns__get"`},
	} {
		if _, got := send(s, "/v1/chat/completions", strings.Replace(chatBody(c.extra), `"m"`, `"fake-`+c.scenario+`"`, 1)); !strings.Contains(got, c.want) {
			t.Errorf("%s: no %s in %s", c.scenario, c.want, got)
		}
	}
	if status, got := send(s, "/v1/chat/completions", strings.Replace(chatBody(""), `"m"`, `"fake-image"`, 1)); status != 400 || !strings.Contains(got, "needs an image") {
		t.Errorf("%d %s", status, got)
	}
}

// TestReasoningOnDemand: OpenAI shows reasoning only to who asks for it.
func TestReasoningOnDemand(t *testing.T) {
	s := New(Options{Scenario: "reasoning"})
	for _, c := range []struct {
		extra           string
		summary, sealed bool
	}{{``, false, false}, {`,"reasoning":{"summary":"auto"}`, true, false}, {`,"include":["reasoning.encrypted_content"]`, false, true}} {
		_, body := send(s, "/v1/responses", inputBody(c.extra))
		item := objectsOf(parse(t, body)["output"])[0]
		if got := len(item["summary"].([]any)) > 0; got != c.summary {
			t.Errorf("%s: summary %v", c.extra, got)
		}
		sealed, got := item["encrypted_content"].(string)
		if got != c.sealed {
			t.Errorf("%s: sealed %v", c.extra, got)
		}
		if text, ok := unseal(sealed); c.sealed && (!ok || !strings.Contains(text, "Reading the question")) {
			t.Errorf("%q does not open", sealed)
		}
	}
	if _, ok := unseal(seal("x") + "A"); ok {
		t.Error("a changed seal opens")
	}
}

func TestManyAtOnce(t *testing.T) {
	s, web := serve(t, Options{})
	var wg sync.WaitGroup
	ids := sync.Map{}
	for i := range 24 {
		wg.Go(func() {
			scenario := Scenarios()[i%len(Scenarios())]
			if scenario == "stall" {
				return
			}
			r, err := web.Client().Post(web.URL+"/v1/responses", "application/json", strings.NewReader(string(toJSON(fixtureRequest(Responses, s.d, scenario, i%2 == 0)))))
			if err == nil {
				_, _ = io.Copy(io.Discard, r.Body)
				r.Body.Close()
			}
			_, body := send(s, "/v1/responses", inputBody(""))
			id := walk(mustObject(body), "id")
			if _, dup := ids.LoadOrStore(id, true); dup || id == nil {
				t.Errorf("id %v twice", id)
			}
			_ = s.Requests()
		})
	}
	wg.Wait()
}

func mustObject(s string) (m map[string]any) {
	_ = json.Unmarshal([]byte(s), &m)
	return m
}

func TestNewPanics(t *testing.T) {
	for _, o := range []Options{{Dialect: "x"}, {Scenario: "x"}, {APIs: []API{"x"}}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v is accepted", o)
				}
			}()
			New(o)
		}()
	}
}

// BenchmarkLong is what 2000 deltas cost the fake, so that a benchmark of a gateway can tell its own cost.
func BenchmarkLong(b *testing.B) {
	for _, path := range []string{"/v1/chat/completions", "/v1/responses"} {
		b.Run(path[4:], func(b *testing.B) {
			body := fmt.Sprintf(`{"model":"fake-long","messages":[%s],"stream":true}`, userHi)
			if path == "/v1/responses" {
				body = `{"model":"fake-long","input":"hi","stream":true,"store":false}`
			}
			s := New(Options{Dialect: "openai"})
			b.ReportAllocs()
			for b.Loop() {
				if status, _ := send(s, path, body); status != 200 {
					b.Fatal(status)
				}
			}
		})
	}
}
