package chat2response

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/labiium/chat2response/internal/fakeopenai"
)

func TestConvertCommand(t *testing.T) {
	run := func(stdin string, args ...string) (out, said string, err error) {
		p := command(t, nil, append([]string{"convert"}, args...)...)
		p.Stdin = strings.NewReader(stdin)
		err = p.Run()
		return p.out.String(), p.stderr(), err
	}
	chat := `{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":50,"seed":7}`
	out, said, err := run(chat, "--compact")
	if want := `{"model":"m","input":[{"type":"message","role":"user","content":"hi"}],"max_output_tokens":50,"store":false}` + "\n"; err != nil || out != want {
		t.Errorf("%v: got %s want %s", err, out, want)
	}
	if said != "seed: dropped\n" {
		t.Errorf("standard error has %q", said)
	}
	// There and back.
	back, _, err := run(out, "-", "--model", "n")
	if err != nil || !strings.Contains(back, "\"messages\": [\n") || !strings.Contains(back, `"model": "n"`) || !strings.Contains(back, `"max_tokens": 50`) {
		t.Errorf("%v: %s", err, back)
	}
	file := filepath.Join(t.TempDir(), "request.json")
	if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _, err := run("", file, "--dialect=openai"); err != nil || !strings.Contains(out, `"max_completion_tokens": 50`) {
		t.Errorf("%v: %s", err, out)
	}
	for want, args := range map[string][]string{
		"seed":                     {"--strict"},
		"must be one of":           {"--dialect=x"},
		"no such file":             {file + "x"},
		"accepts at most 1 arg(s)": {file, file},
		"unknown flag: --dialekt":  {"--dialekt"},
	} {
		if _, said, err := run(chat, args...); err == nil || !strings.Contains(said, want) {
			t.Errorf("%v: %v, %s", args, err, said)
		}
	}
	if _, said, err := run(`{"model":"m"}`); err == nil || !strings.Contains(said, "Missing required parameter: 'messages'") {
		t.Errorf("%v: %s", err, said)
	}
}

func TestDoctorCommand(t *testing.T) {
	s := httptest.NewServer(fakeopenai.New(fakeopenai.Options{Dialect: "vllm", Scenario: "demo", APIKey: "sk-hide-me"}))
	defer s.Close()
	p := command(t, []string{"OPENAI_API_KEY=sk-hide-me", "OPENAI_BASE_URL=" + s.URL}, "doctor", s.URL)
	if err := p.Run(); err != nil {
		t.Fatal(err, p.stderr())
	}
	out := p.out.String()
	for _, want := range []string{"dialect   vllm: ", "\t\tdialect vllm\n", "api_key {env.OPENAI_API_KEY}", "images "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if strings.Contains(out+p.stderr(), "hide-me") || !strings.Contains(p.stderr(), "asking Responses: tools") {
		t.Errorf("%s", p.stderr())
	}
	// The Caddyfile that it prints is one.
	_, caddyfile, _ := strings.Cut(out, "Use it so:\n")
	caddyfile, _, _ = strings.Cut(caddyfile, "or, without")
	if _, _, err := tryAdapt(caddyfile); err != nil {
		t.Errorf("%v\n%s", err, caddyfile)
	}

	broken := httptest.NewServer(http.NotFoundHandler())
	defer broken.Close()
	p = command(t, []string{"OPENAI_BASE_URL=" + broken.URL}, "doctor", "--quiet")
	if err := p.Run(); err == nil || !strings.Contains(p.out.String(), "It cannot be used") || p.stderr() != "" {
		t.Errorf("%v: %s %s", err, p.out.String(), p.stderr())
	}
	p = command(t, nil, "doctor")
	if err := p.Run(); err == nil || !strings.Contains(p.stderr(), "write a URL such as") {
		t.Errorf("%v: %s", err, p.stderr())
	}
}

// A4: OPENAI_API_KEY goes to OpenAI and to the gateway's own upstream, and to another host only if --key-env says so.
func TestDoctorSendsNoKeyToStrangers(t *testing.T) {
	var mu sync.Mutex
	var got []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer s.Close()
	for name, row := range map[string]struct {
		env, args []string
		want      string
		says      string
	}{
		"a stranger":            {[]string{"OPENAI_API_KEY=sk-canary"}, []string{s.URL}, "", "OPENAI_API_KEY is not sent to " + strings.TrimPrefix(s.URL, "http://")},
		"beside the upstream":   {[]string{"OPENAI_API_KEY=sk-canary", "OPENAI_BASE_URL=http://127.0.0.1:1/v1"}, []string{s.URL}, "", "is not sent"},
		"with TLS, not without": {[]string{"OPENAI_API_KEY=sk-canary", "OPENAI_BASE_URL=" + strings.Replace(s.URL, "http", "https", 1)}, []string{s.URL}, "", "is not sent"},
		"the upstream":          {[]string{"OPENAI_API_KEY=sk-canary", "OPENAI_BASE_URL=" + s.URL + "/v1"}, []string{s.URL + "/other"}, "Bearer sk-canary", "asking"},
		"no URL":                {[]string{"OPENAI_API_KEY=sk-canary", "OPENAI_BASE_URL=" + s.URL + "/v1"}, nil, "Bearer sk-canary", "asking"},
		"asked for":             {[]string{"OPENAI_API_KEY=sk-canary"}, []string{s.URL, "--key-env", "OPENAI_API_KEY"}, "Bearer sk-canary", "asking"},
		"another one":           {[]string{"OPENAI_API_KEY=sk-canary", "GROQ=sk-g"}, []string{s.URL, "--key-env=GROQ"}, "Bearer sk-g", "asking"},
		"no key at all":         {nil, []string{s.URL}, "", "asking"},
	} {
		mu.Lock()
		got = nil
		mu.Unlock()
		p := command(t, row.env, append([]string{"doctor"}, row.args...)...)
		p.Run() // it is answered 401
		mu.Lock()
		got := slices.Clone(got)
		mu.Unlock()
		if len(got) == 0 || strings.Join(slices.Compact(got), "") != row.want || !strings.Contains(p.stderr(), row.says) || row.says == "asking" && strings.Contains(p.stderr(), "is not sent") {
			t.Errorf("%s: sent %q: %s", name, got, p.stderr())
		}
		if strings.Contains(p.stderr()+p.out.String(), "canary") {
			t.Errorf("%s: it shows the key: %s", name, p.stderr())
		}
	}
	p := command(t, nil, "doctor", s.URL, "--key-env=NOT_THERE")
	if err := p.Run(); err == nil || !strings.Contains(p.stderr(), "--key-env names NOT_THERE, which is not set") {
		t.Errorf("%v: %s", err, p.stderr())
	}
	key, name, note, err := doctorKey("https://api.openai.com/v1", "", func(name string) string { return map[string]string{"OPENAI_API_KEY": "k"}[name] })
	if key != "k" || name != "OPENAI_API_KEY" || note != "" || err != nil {
		t.Errorf("OpenAI: %q %q %q %v", key, name, note, err)
	}
	if key, _, _, _ := doctorKey("http://api.openai.com/v1", "", func(string) string { return "k" }); key != "" {
		t.Error("OpenAI without TLS gets the key")
	}
}

func TestStatusCommand(t *testing.T) {
	_, env := demoUpstream(t)
	p := serving(t, env, "--keys-backend=memory")
	status := command(t, nil, "status", p.url)
	if err := status.Run(); err != nil || !strings.Contains(status.out.String(), `"mode": "chat"`) {
		t.Errorf("%v: %s %s", err, status.out.String(), status.stderr())
	}
	// As the image's health is asked: by the variable that says where to listen.
	_, port, _ := strings.Cut(strings.TrimPrefix(p.url, "http://"), ":")
	health := command(t, []string{"BIND_ADDR=0.0.0.0:" + port, "HTTP_PROXY=http://127.0.0.1:1"}, "status", "--quiet")
	if err := health.Run(); err != nil || health.out.String() != "" {
		t.Errorf("%v: %s %s", err, health.out.String(), health.stderr())
	}
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	for _, url := range []string{other.URL, "http://127.0.0.1:1"} {
		if p := command(t, nil, "status", url); p.Run() == nil || p.stderr() == "" {
			t.Errorf("%s is a gateway", url)
		}
	}
	// A8: whatever is wrong with a URL, its password and its query are not shown.
	for _, url := range []string{
		strings.Replace(other.URL, "//", "//u:hide-me@", 1) + "?key=hide-me", "http://u:hide-me@127.0.0.1:1/?key=hide-me",
		"http://u:hide-me@127.0.0.1:port", "u:hide-me@127.0.0.1:1", "http://u:hide/me@127.0.0.1:1",
	} {
		p := command(t, nil, "status", url)
		if err := p.Run(); err == nil || p.stderr() == "" || strings.Contains(p.stderr()+p.out.String(), "hide") {
			t.Errorf("%s: %v: %s%s", url, err, p.out.String(), p.stderr())
		}
	}
}
