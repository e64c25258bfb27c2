package doctor

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/internal/fakeopenai"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func examine(t *testing.T, o Options) *Report {
	t.Helper()
	r, err := Examine(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func serve(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// Each kind of server is told by what it does, through answers alone.
func TestDialects(t *testing.T) {
	for _, row := range []struct {
		fake, want string
		mode       convert.API
	}{
		{"openai", "openai", convert.Responses},
		{"azure", "azure", convert.Responses},
		{"vllm", "vllm", convert.Chat},
		{"ollama", "ollama", convert.Chat},
		{"ollama-old", "ollama", convert.Chat},
		{"llama.cpp", "llama.cpp", convert.Chat},
		{"lmstudio", "lmstudio", convert.Chat},
		{"mistral", "mistral", convert.Chat},
		{"deepseek", "deepseek", convert.Chat},
		{"groq", "groq", convert.Chat},
		{"gemini", "gemini", convert.Responses}, // of which this fake shows more: the reasoning
		{"kimi", "kimi", convert.Chat},
		{"openrouter", "openrouter", convert.Chat},
		{"generic", "generic", convert.Chat},
	} {
		url := serve(t, fakeopenai.New(fakeopenai.Options{Dialect: row.fake, Scenario: "demo", Models: []string{"text-embedding-3", "demo"}}))
		r := examine(t, Options{URL: url})
		if r.Dialect != row.want || r.Mode != row.mode || r.Broken != "" {
			t.Errorf("%s: dialect %s in mode %s (%s), broken %q; want %s in mode %s\n%+v", row.fake, r.Dialect, r.Mode, strings.Join(r.Why, "; "), r.Broken, row.want, row.mode, r.Results)
		}
		if r.URL != url+"/v1" || r.Model != "demo" {
			t.Errorf("%s: asked %s at %s", row.fake, r.Model, r.URL)
		}
		for _, probe := range probes {
			if got := r.get(r.Mode, probe.name); !got.OK {
				t.Errorf("%s: %s: %s", row.fake, probe.name, got.Note)
			}
		}
		var out bytes.Buffer
		r.Write(&out)
		for _, want := range []string{"mode " + string(row.mode) + "\n", "OPENAI_BASE_URL=" + url + "/v1 UPSTREAM_MODE=" + string(row.mode)} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %q in\n%s", row.fake, want, out.String())
			}
		}
	}
}

// What is not there, or does not work, is told with its reason.
func TestOneAPI(t *testing.T) {
	url := serve(t, fakeopenai.New(fakeopenai.Options{Dialect: "vllm", Scenario: "demo", APIs: []fakeopenai.API{fakeopenai.Chat}}))
	r := examine(t, Options{URL: url + "/v1"})
	if r.Mode != convert.Chat || r.Broken != "" {
		t.Errorf("%+v", r)
	}
	if got := r.get(convert.Responses, plainAnswer); got.OK || got.Note != "not there" || r.get(convert.Responses, streams) != nil {
		t.Errorf("Responses: %+v", got)
	}
	r = examine(t, Options{URL: serve(t, fakeopenai.New(fakeopenai.Options{Scenario: "demo", APIs: []fakeopenai.API{fakeopenai.Responses}}))})
	if r.Mode != convert.Responses || r.Broken != "" {
		t.Errorf("%+v", r)
	}
}

func TestBroken(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) })
	closed := httptest.NewServer(page)
	closed.Close()
	fake := func(o fakeopenai.Options) string { return serve(t, fakeopenai.New(o)) }
	for name, row := range map[string]struct {
		o    Options
		want string
	}{
		"a web page":        {Options{URL: serve(t, page)}, "no list of models"},
		"a page as answer":  {Options{URL: fake(fakeopenai.Options{}), Model: "fake-nonjson"}, "HTML"},
		"cut off":           {Options{URL: fake(fakeopenai.Options{}), Model: "fake-cut"}, "breaks off"},
		"errors":            {Options{URL: fake(fakeopenai.Options{}), Model: "fake-error500"}, "refused with 500"},
		"no such model":     {Options{URL: fake(fakeopenai.Options{}), Model: "fake-x"}, "refused with 404: The model"},
		"silent":            {Options{URL: fake(fakeopenai.Options{}), Model: "fake-stall", Patience: 300 * time.Millisecond}, "no answer within 300ms"},
		"a key is missing":  {Options{URL: fake(fakeopenai.Options{APIKey: "sk-1"})}, "OPENAI_API_KEY"},
		"nobody is there":   {Options{URL: closed.URL}, "refused"},
		"no models, nor me": {Options{URL: fake(fakeopenai.Options{Models: []string{}})}, "--model"},
	} {
		r := examine(t, row.o)
		if !strings.Contains(r.Broken, row.want) {
			t.Errorf("%s: broken is %q, want %q", name, r.Broken, row.want)
		}
		var out bytes.Buffer
		r.Write(&out)
		if !strings.Contains(out.String(), "It cannot be used: ") || strings.Contains(out.String(), "Use it so") {
			t.Errorf("%s: %s", name, out.String())
		}
	}
	if r := examine(t, Options{URL: fake(fakeopenai.Options{APIKey: "sk-1", Scenario: "demo"}), Key: "sk-1"}); r.Broken != "" || !strings.Contains(r.Caddyfile(), "api_key {env.OPENAI_API_KEY}") {
		t.Errorf("with its key: %q\n%s", r.Broken, r.Caddyfile())
	}
	if r := examine(t, Options{URL: fake(fakeopenai.Options{APIKey: "sk-1", Scenario: "demo"}), Key: "sk-1", KeyName: "MY_KEY"}); !strings.Contains(r.Caddyfile(), "api_key {env.MY_KEY}") || !strings.Contains(r.Command(), `OPENAI_API_KEY="$MY_KEY" chat2response`) {
		t.Errorf("with a key in another variable:\n%s%s", r.Caddyfile(), r.Command())
	}
	if r := examine(t, Options{URL: fake(fakeopenai.Options{APIKey: "sk-1"}), Key: "sk-2", KeyName: "MY_KEY"}); !strings.Contains(r.Broken, "set MY_KEY to one") {
		t.Errorf("with a wrong key: %q", r.Broken)
	}
	for _, url := range []string{"localhost:1", "ftp://x", ""} {
		if _, err := Examine(t.Context(), Options{URL: url}); err == nil {
			t.Errorf("%q is taken", url)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Examine(ctx, Options{URL: fake(fakeopenai.Options{})}); err == nil {
		t.Error("it goes on after its end")
	}
}

// A4: a redirect takes the key to no other host: not to another port of this one either, nor to a subdomain, nor from
// https to http, where net/http would.
func TestRedirectsLeaveTheKey(t *testing.T) {
	const key = "sk-canary"
	var mu sync.Mutex
	keyed := map[string]bool{} // by path: the request had the key
	fake := fakeopenai.New(fakeopenai.Options{Scenario: "demo"})
	var moved http.HandlerFunc = func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		keyed[r.URL.Path] = keyed[r.URL.Path] || r.Header.Get("Authorization") == "Bearer "+key
		mu.Unlock()
		r.URL.Path = strings.Replace(r.URL.Path, "/moved/", "/v1/", 1)
		fake.ServeHTTP(w, r)
	}
	elsewhere := serve(t, moved)
	here := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/") {
			http.Redirect(w, r, elsewhere+r.URL.Path, http.StatusTemporaryRedirect)
		} else {
			moved(w, r)
		}
	}))
	if r := examine(t, Options{URL: here + "/v1", Key: key}); r.Broken != "" {
		t.Errorf("it does not follow: %s", r.Broken)
	}
	for _, path := range []string{"/v1/models", "/v1/chat/completions", "/v1/responses"} {
		if sent, asked := keyed[path]; sent || !asked {
			t.Errorf("%s: asked there %t, with the key %t", path, asked, sent)
		}
	}
	// On the same host the key stays.
	clear(keyed)
	same := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rest, ok := strings.CutPrefix(r.URL.Path, "/v1/"); ok {
			http.Redirect(w, r, "/moved/"+rest, http.StatusTemporaryRedirect)
		} else {
			moved(w, r)
		}
	}))
	if r := examine(t, Options{URL: same + "/v1", Key: key}); r.Broken != "" || !keyed["/moved/models"] || !keyed["/moved/chat/completions"] {
		t.Errorf("%q, %v", r.Broken, keyed)
	}
	loop := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/v1/models", http.StatusFound) }))
	if r := examine(t, Options{URL: loop + "/v1", Key: key}); !strings.Contains(r.Broken, "it redirects more than 5 times") {
		t.Errorf("%q", r.Broken)
	}
	for _, row := range []struct {
		from, to string
		want     bool
	}{
		{"https://a/x", "https://A:443/y", true}, {"http://a", "http://a:80", true}, {"https://a", "http://a", false}, {"https://a", "https://b.a", false},
		{"http://a:1", "http://a:2", false}, {"http://[::1]:1", "http://[::1]:1/x", true}, {"https://me@a", "https://a", true},
	} {
		from, _ := url.Parse(row.from)
		to, _ := url.Parse(row.to)
		if got := SameOrigin(from, to); got != row.want {
			t.Errorf("%s and %s: %t", row.from, row.to, got)
		}
	}
}

// An upstream that is hostile writes nothing but text to the operator's terminal.
func TestReportIsText(t *testing.T) {
	r := Report{URL: "http://x/v1", Models: []string{"a\x1b[2J", "b\u202e\r"}, Model: "m\x9b1A", Results: []Result{{API: convert.Chat, Probe: plainAnswer, Note: "\x1b]0;t\x07no"}}, Broken: "\x1b[31mx"}
	var out bytes.Buffer
	if err := r.Write(&out); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\x07\r\u202e\u009b") || !strings.Contains(out.String(), "a?[2J") {
		t.Errorf("%q", out.String())
	}
}

// A8: a URL with a password is refused, as the gateway refuses it, and not shown.
func TestURLsWithPasswords(t *testing.T) {
	for _, address := range []string{"http://me:hide-me@127.0.0.1:1/v1", "http://127.0.0.1:1/v1?key=hide-me", "https://me:hide/me:hide-me@x", "me:hide-me@x"} {
		if _, err := Examine(t.Context(), Options{URL: address}); err == nil || strings.Contains(err.Error(), "hide-me") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// Paths that only one server has, and names of hosts and owners.
func TestSigns(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/v1/", fakeopenai.New(fakeopenai.Options{Dialect: "generic", Scenario: "demo"}))
	mux.HandleFunc("/get_model_info", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"model_path":"x"}`)) })
	if r := examine(t, Options{URL: serve(t, mux)}); r.Dialect != "sglang" {
		t.Errorf("got %s: %v", r.Dialect, r.Why)
	}
	for host, want := range map[string]string{"api.openai.com": "openai", "me.openai.azure.com": "azure", "notapi.openai.com": "generic", "eu.api.mistral.ai": "mistral", "evil-openrouter.ai": "generic"} {
		s := signs{}
		s.host(host)
		if got, _ := s.verdict(); got != want {
			t.Errorf("%s is %s, want %s", host, got, want)
		}
	}
	s := signs{}
	s.owner("library")
	s.answer([]byte(`{"choices":[{"message":{"tool_calls":[{"id":"chatcmpl-tool-1"}]},"stop_reason":null}]}`), "m")
	if got, why := s.verdict(); got != "vllm" || len(why) != 2 {
		t.Errorf("%s %v", got, why)
	}
	for name := range allDialects() {
		if convert.Dialects[name] == nil {
			t.Errorf("signs name %q, which is no dialect", name)
		}
	}
}

func allDialects() map[string]bool {
	all := map[string]bool{}
	for _, table := range []map[string]string{hosts, owners} {
		for _, name := range table {
			all[name] = true
		}
	}
	for _, table := range unusual {
		for _, name := range table {
			all[name] = true
		}
	}
	for _, n := range natives {
		all[n.dialect] = true
	}
	for name := range callIDs {
		all[name] = true
	}
	return all
}
