package chat2response

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/labiium/chat2response/internal/dropin"
	"github.com/labiium/chat2response/internal/fakeopenai"
)

// asCommand makes the test's own program behave as `caddy chat2response` does.
const asCommand = "CHAT2RESPONSE_TEST_AS_COMMAND"

func beCommand() {
	os.Unsetenv(asCommand)
	os.Args = append([]string{"caddy", "chat2response"}, os.Args[1:]...)
	caddycmd.Main()
	os.Exit(0)
}

// process is `caddy chat2response` with an environment of its own.
type process struct {
	*exec.Cmd
	t   *testing.T
	url string
	out bytes.Buffer // standard output

	mu  sync.Mutex
	err bytes.Buffer // standard error
	up  chan struct{}
}

func command(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := &process{Cmd: exec.Command(self, args...), t: t, up: make(chan struct{})}
	p.Dir = dir
	// Behind the others, so that a test can set these too.
	p.Env = append([]string{asCommand + "=1", "HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "PATH=" + os.Getenv("PATH"), "CHAT2RESPONSE_ADMIN_ADDR=off"}, env...)
	p.Stdout = &p.out
	p.Stderr = p
	return p
}

// Write takes standard error.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := strings.Contains(p.err.String(), "\n  keys ")
	p.err.Write(b)
	if !before && strings.Contains(p.err.String(), "\n  keys ") { // of the start's message
		close(p.up)
	}
	return len(b), nil
}

func (p *process) stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err.String()
}

// serving starts the gateway and waits until it serves.
func serving(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	addr := freeAddr(t)
	p := command(t, append(env, "BIND_ADDR="+addr), args...)
	p.url = "http://" + addr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { p.Wait(); close(done) }()
	t.Cleanup(func() {
		p.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			p.Process.Kill()
			t.Error("it does not end")
		}
		client.CloseIdleConnections()
	})
	select {
	case <-p.up:
	case <-done:
		t.Fatalf("it ended: %s", p.stderr())
	case <-time.After(time.Minute):
		t.Fatalf("it does not start: %s", p.stderr())
	}
	return p
}

// failing runs the gateway, which must not start, and returns what it says.
func failing(t *testing.T, env []string, args ...string) string {
	t.Helper()
	p := command(t, append([]string{"BIND_ADDR=" + freeAddr(t)}, env...), args...)
	timer := time.AfterFunc(time.Minute, func() { p.Process.Kill() })
	defer timer.Stop()
	err := p.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%v %v: ended with %v: %s", env, args, err, p.stderr())
	}
	return p.stderr()
}

func (p *process) do(method, path, body string, header ...string) *http.Response {
	p.t.Helper()
	r, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		p.t.Errorf("reading the answer: %v", err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return resp
}

func bodyOf(r *http.Response) string {
	b, _ := io.ReadAll(r.Body)
	return string(b)
}

// demoUpstream is a Chat upstream as a setting.
func demoUpstream(t *testing.T) (*fakeopenai.Server, []string) {
	model := fakeopenai.New(fakeopenai.Options{Dialect: "generic", APIs: []fakeopenai.API{fakeopenai.Chat}, Scenario: "demo"})
	s := httptest.NewServer(model)
	t.Cleanup(s.Close)
	return model, []string{"OPENAI_BASE_URL=" + s.URL + "/v1", "UPSTREAM_MODE=chat"}
}

const hello = `{"model":"demo","messages":[{"role":"user","content":"Hello!"}]}`

// The README's first commands: passthrough, an mcp.json, a graceful end. A2: nothing is written into the folder.
func TestServePassthrough(t *testing.T) {
	model, env := demoUpstream(t)
	p := command(t, nil)
	mcp := filepath.Join(p.Dir, "mcp.json")
	if err := os.WriteFile(mcp, []byte(`{"mcpServers":{"files":{"command":"nothing-runs-this"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	p = serving(t, append(env, "CORS_MAX_AGE=7"), mcp)
	for _, want := range []string{"clients ", "passthrough", "Chat Completions", "keys      memory (until the process ends)", "state     kept 24 hours in memory", "mcp.json: tools of files", "on this machine only"} {
		if !strings.Contains(p.stderr(), want) {
			t.Errorf("the start does not say %q: %s", want, p.stderr())
		}
	}
	r := p.do("POST", "/proxy", hello, "Authorization", "Bearer sk-mine")
	if b := bodyOf(r); r.StatusCode != 200 || !strings.Contains(b, `"object":"response"`) {
		t.Errorf("%d %s", r.StatusCode, b)
	}
	if got := model.Requests()[0]; got.Path != "/v1/chat/completions" || got.Header.Get("Authorization") != "Bearer sk-mine" {
		t.Errorf("the upstream got %s with %q", got.Path, got.Header.Get("Authorization"))
	}
	if r := p.do("GET", "/nothing", ""); r.StatusCode != 404 || !strings.Contains(bodyOf(r), `"type":"invalid_request_error"`) {
		t.Errorf("another path: %d", r.StatusCode)
	}
	if r := p.do("POST", "/keys/generate", `{}`); r.StatusCode != 200 || !strings.Contains(bodyOf(r), `"token":"sk_`) {
		t.Errorf("/keys/generate: %d", r.StatusCode)
	}
	if _, err := os.Stat(filepath.Join(p.Dir, "data")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a folder ./data: %v", err)
	}
}

func TestServeManaged(t *testing.T) {
	model, env := demoUpstream(t)
	admin := freeAddr(t)
	p := serving(t, append(env, "OPENAI_API_KEY=sk-theirs", "CHAT2RESPONSE_ADMIN_ADDR="+admin), "--keys-backend=memory")
	if r := p.do("POST", "/proxy", hello); r.StatusCode != 401 {
		t.Errorf("without a key: %d", r.StatusCode)
	}
	if r := p.do("POST", "/proxy", hello, "Authorization", "Bearer sk-theirs"); r.StatusCode != 401 {
		t.Errorf("with the upstream's key: %d", r.StatusCode)
	}
	if !strings.Contains(p.stderr(), "keys create --address "+admin) {
		t.Error(p.stderr())
	}
	make := command(t, []string{"CHAT2RESPONSE_ADMIN_ADDR=" + admin}, "keys", "create", "--label", "x")
	if err := make.Run(); err != nil {
		t.Fatal(err, make.stderr())
	}
	r := p.do("POST", "/proxy", hello, "Authorization", "Bearer "+strings.TrimSpace(make.out.String()))
	if r.StatusCode != 200 {
		t.Errorf("with a key of the gateway: %d %s", r.StatusCode, bodyOf(r))
	}
	requests := model.Requests()
	if len(requests) != 1 || requests[0].Header.Get("Authorization") != "Bearer sk-theirs" {
		t.Errorf("the upstream got %d requests", len(requests))
	}
	// The upstream's key is in no configuration.
	resp, err := client.Get("http://" + admin + "/config/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); bytes.Contains(b, []byte("sk-theirs")) || !bytes.Contains(b, []byte("{env.OPENAI_API_KEY}")) {
		t.Errorf("the configuration: %s", b)
	}
}

// A3: the process writes its log by itself, so it is the process that keeps clients' keys out of it: out of the access
// log, and out of what Caddy says of answers that break off, and at debug level of every request.
func TestServeLogsNoKeys(t *testing.T) {
	upstream := httptest.NewServer(fakeopenai.New(fakeopenai.Options{Dialect: "generic", APIs: []fakeopenai.API{fakeopenai.Chat}}))
	defer upstream.Close()
	env := []string{"OPENAI_BASE_URL=" + upstream.URL + "/v1", "UPSTREAM_MODE=chat"}
	for name, row := range map[string]struct {
		env   []string
		model string
	}{
		"an access log":     {append(env, "CHAT2RESPONSE_ACCESS_LOG=1"), "fake-text"},
		"at debug level":    {append(env, "RUST_LOG=debug"), "fake-text"},
		"answers break off": {env, "fake-cut"},
	} {
		p := serving(t, row.env, "--keys-backend=memory")
		asked := 0
		ask := func(query string, header ...string) {
			asked++
			r, err := http.NewRequest("POST", p.url+"/v1/chat/completions?n=1"+query, strings.NewReader(`{"model":"`+row.model+`","stream":true,"messages":[{"role":"user","content":"x"}]}`))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("X-Asked", fmt.Sprint("number ", asked))
			for i := 0; i < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
			resp, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body) // it may break off
			resp.Body.Close()
		}
		for _, header := range []string{"Authorization", "Proxy-Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Cookie", "Sec-Websocket-Protocol"} {
			ask("", header, "sk-canary")
		}
		for _, parameter := range []string{"key", "api_key", "api-key", "access_token"} {
			ask("&" + parameter + "=sk-canary")
		}
		// The log must have every request, or there is nothing to be seen in it.
		eventually(t, name+": every request is in the log", func() bool {
			for n := range asked {
				if !strings.Contains(p.stderr(), fmt.Sprintf("\"number %d\"", n+1)) {
					return false
				}
			}
			return true
		})
		for _, line := range strings.Split(p.stderr(), "\n") {
			if strings.Contains(line, "canary") {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

func TestServeKeyFileAndDotenv(t *testing.T) {
	model, env := demoUpstream(t)
	dir := t.TempDir()
	key, dotenv := filepath.Join(dir, "key"), filepath.Join(dir, "x.env")
	for path, text := range map[string]string{key: "sk-of-the-file\n", dotenv: "OPENAI_API_KEY_FILE=" + key + "\nCHAT2RESPONSE_INSECURE_ADMIN=1\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := serving(t, append(env, "ENV_FILE="+dotenv), "--keys-backend", "memory")
	if !strings.Contains(p.stderr(), "variables were read from "+dotenv) {
		t.Error(p.stderr())
	}
	var key1 struct{ Token string }
	// From afar, as the header says: only CHAT2RESPONSE_INSECURE_ADMIN of the file lets it in.
	r := p.do("POST", "/keys/generate", `{}`, "X-Forwarded-For", "203.0.113.9")
	if err := json.Unmarshal([]byte(bodyOf(r)), &key1); err != nil || r.StatusCode != 200 {
		t.Fatal(r.StatusCode, err)
	}
	if r := p.do("POST", "/proxy", hello, "Authorization", "Bearer "+key1.Token); r.StatusCode != 200 {
		t.Errorf("%d %s", r.StatusCode, bodyOf(r))
	}
	if got := model.Requests()[0].Header.Get("Authorization"); got != "Bearer sk-of-the-file" {
		t.Errorf("the upstream got %q", got)
	}
}

func TestSettingsOfKeys(t *testing.T) {
	_, env := demoUpstream(t)
	const token = "0123456789abcdef0123456789"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"--admin-token=" + token, "--admin-token-file=" + file} {
		p := serving(t, append(env, "CHAT2RESPONSE_KEYS_DEFAULT_TTL_SECONDS=0", "CHAT2RESPONSE_KEYS_ALLOW_NO_EXPIRATION=1"), "--keys-backend=memory", flag)
		if r := p.do("POST", "/keys/generate", `{}`); r.StatusCode != 401 && r.StatusCode != 403 {
			t.Errorf("%s: without the admin token: %d", flag, r.StatusCode)
		}
		r := p.do("POST", "/keys/generate", `{}`, "Authorization", "Bearer "+token)
		if b := bodyOf(r); r.StatusCode != 200 || !strings.Contains(b, `"expires_at":null`) {
			t.Errorf("%s: %d %s", flag, r.StatusCode, b)
		}
	}
}

// A slow answer that goes on is never cut; one that does not begin is.
func TestServeTimeouts(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/models" { // never begins
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 8 {
			fmt.Fprintf(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%d\"},\"finish_reason\":null}]}\n\n", i)
			http.NewResponseController(w).Flush()
			time.Sleep(500 * time.Millisecond)
		}
		io.WriteString(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	}))
	defer s.Close()
	p := serving(t, []string{"OPENAI_BASE_URL=" + s.URL + "/v1", "UPSTREAM_MODE=chat", "CHAT2RESPONSE_HTTP_TIMEOUT_SECONDS=3"}, "--keys-backend=memory")
	r := p.do("POST", "/v1/responses", `{"model":"m","input":"x","stream":true}`)
	if b := bodyOf(r); !strings.Contains(b, "event: response.completed") || !strings.Contains(b, `"text":"01234567"`) {
		t.Errorf("a stream of four seconds: %s", b)
	}
	if r := p.do("GET", "/v1/models", ""); r.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("an answer that does not begin: %d", r.StatusCode)
	}
}

// An upstream that stands still in its answer is given up.
func TestServeIdle(t *testing.T) {
	t.Parallel()
	stall := httptest.NewServer(fakeopenai.New(fakeopenai.Options{Dialect: "generic"}))
	defer stall.Close()
	p := serving(t, []string{"OPENAI_BASE_URL=" + stall.URL + "/v1", "UPSTREAM_MODE=chat"}, "--keys-backend=memory", "--http-timeout-seconds=3", "--idle-timeout-seconds=3")
	r := p.do("POST", "/v1/responses", `{"model":"fake-stall","input":"x","stream":true}`)
	if b := bodyOf(r); !strings.Contains(b, "event: response.failed") {
		t.Errorf("got %s", b)
	}
}

// proxy is a forward proxy that answers everything itself. It counts.
func proxy(t *testing.T) (address string, count func() int) {
	var mu sync.Mutex
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		mu.Unlock()
		if r.Method == http.MethodConnect {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"object":"list","data":[{"id":"`+r.URL.String()+`"}]}`)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() int { mu.Lock(); defer mu.Unlock(); return n }
}

func TestProxies(t *testing.T) {
	address, count := proxy(t)
	u, _ := url.Parse(address)
	const upstream = "http://upstream.invalid/v1"
	for _, row := range []struct {
		env    []string
		proxed bool
	}{
		{[]string{"OPENAI_BASE_URL=" + upstream, "CHAT2RESPONSE_PROXY_URL=" + u.Host}, true},
		{[]string{"OPENAI_BASE_URL=" + upstream, "HTTP_PROXY=" + address}, true},
		{[]string{"OPENAI_BASE_URL=" + upstream, "http_proxy=" + address}, true},
		{[]string{"OPENAI_BASE_URL=" + upstream, "HTTPS_PROXY=" + address}, false},
		{[]string{"OPENAI_BASE_URL=https://upstream.invalid/v1", "HTTPS_PROXY=" + address}, true},
		{[]string{"OPENAI_BASE_URL=" + upstream, "HTTP_PROXY=" + address, "NO_PROXY=upstream.invalid"}, false},
		{[]string{"OPENAI_BASE_URL=" + upstream, "HTTP_PROXY=" + address, "CHAT2RESPONSE_NO_PROXY=1"}, false},
		{[]string{"OPENAI_BASE_URL=" + upstream, "CHAT2RESPONSE_PROXY_URL=" + address, "CHAT2RESPONSE_NO_PROXY=1"}, false},
	} {
		before := count()
		p := serving(t, row.env, "--keys-backend=memory")
		r := p.do("GET", "/v1/models", "")
		if proxied := count() > before; proxied != row.proxed {
			t.Errorf("%v: through the proxy is %t: %d %s", row.env, proxied, r.StatusCode, bodyOf(r))
		}
	}
}

func TestServeCORS(t *testing.T) {
	_, env := demoUpstream(t)
	preflight := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,x-own"}
	check := func(p *process, origin string, want map[string]string) {
		t.Helper()
		for _, r := range []*http.Response{
			p.do("OPTIONS", "/v1/responses", "", append(preflight, "Origin", origin)...),
			p.do("GET", "/status", "", "Origin", origin),
		} {
			for name, value := range want {
				if r.Request.Method != "OPTIONS" && (strings.HasSuffix(name, "-Age") || strings.HasSuffix(name, "Methods") || strings.HasSuffix(name, "Headers")) {
					continue
				}
				if got := r.Header.Get(name); got != value {
					t.Errorf("%s for %s: %s is %q, want %q", r.Request.Method, origin, name, got, value)
				}
			}
			if r.Request.Method == "OPTIONS" && r.StatusCode != 204 {
				t.Errorf("the preflight is answered %d", r.StatusCode)
			}
		}
	}
	// H7: without keys, and without a word, nothing is allowed; OPTIONS goes to the upstream then.
	p := serving(t, env, "--keys-backend=memory")
	for _, r := range []*http.Response{
		p.do("OPTIONS", "/v1/responses", "", append(preflight, "Origin", "https://a.example")...),
		p.do("GET", "/status", "", "Origin", "https://a.example"),
		p.do("POST", "/convert?conversation_id=diary", hello, "Origin", "https://a.example"),
	} {
		for name := range r.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s %s is answered with %s: %s", r.Request.Method, r.Request.URL.Path, name, r.Header.Get(name))
			}
		}
	}
	everything := map[string]string{
		"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "*", "Access-Control-Allow-Headers": "Authorization, *", "Access-Control-Max-Age": "3600",
	}
	check(serving(t, append(env, "CORS_ALLOWED_ORIGINS=*"), "--keys-backend=memory"), "https://a.example", everything)
	check(serving(t, append(env, "OPENAI_API_KEY=sk-x"), "--keys-backend=memory"), "https://a.example", everything)
	p = serving(t, append(env, "CORS_ALLOWED_ORIGINS=https://a.example,https://b.example", "CORS_ALLOW_CREDENTIALS=1", "CORS_MAX_AGE=9", "CORS_ALLOWED_METHODS=POST"), "--keys-backend=memory")
	check(p, "https://b.example", map[string]string{
		"Access-Control-Allow-Origin": "https://b.example", "Access-Control-Allow-Credentials": "true", "Vary": "Origin",
		"Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": "authorization,x-own", "Access-Control-Max-Age": "9",
	})
	check(p, "https://c.example", map[string]string{"Access-Control-Allow-Origin": "", "Access-Control-Allow-Methods": "", "Vary": "Origin"})
}

// H7: many model servers allow every page (vLLM: *), and what they say of it is not passed on: off is off, and a list
// is the list.
func TestServeCORSOfTheUpstream(t *testing.T) {
	model := fakeopenai.New(fakeopenai.Options{Dialect: "generic", APIs: []fakeopenai.API{fakeopenai.Chat}})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Allow-Credentials", "true")
		w.Header().Set("X-Of-The-Upstream", "yes")
		model.ServeHTTP(w, r)
	}))
	defer s.Close()
	env := []string{"OPENAI_BASE_URL=" + s.URL + "/v1", "UPSTREAM_MODE=chat"}
	for _, row := range []struct{ origins, want string }{{"", ""}, {"off", ""}, {"https://b.example", ""}, {"https://a.example", "https://a.example"}, {"*", "*"}} {
		p := serving(t, append(env, "CORS_ALLOWED_ORIGINS="+row.origins), "--keys-backend=memory")
		for _, stream := range []string{"", `,"stream":true`} {
			for path, body := range map[string]string{
				"/v1/chat/completions": `{"model":"fake-text","messages":[{"role":"user","content":"x"}]` + stream + `}`,
				"/v1/responses":        `{"model":"fake-text","input":"x"` + stream + `}`,
			} {
				r := p.do("POST", path, body, "Origin", "https://a.example")
				if got := r.Header.Get("Access-Control-Allow-Origin"); r.StatusCode != 200 || got != row.want || r.Header.Get("Access-Control-Allow-Credentials") != "" {
					t.Errorf("%q: %s is answered %d with %v", row.origins, path, r.StatusCode, r.Header)
				}
				if path == "/v1/chat/completions" && r.Header.Get("X-Of-The-Upstream") != "yes" {
					t.Errorf("%q: %s has no header of the upstream: the test would prove nothing: %v", row.origins, path, r.Header)
				}
			}
		}
	}
}

// Redis is asked before the start, and its reason given; nothing else is used in its
// place.
func TestServeRedis(t *testing.T) {
	_, env := demoUpstream(t)
	for _, row := range [][]string{{"CHAT2RESPONSE_REDIS_URL=redis://:hide-me@127.0.0.1:1/"}, {"CHAT2RESPONSE_REDIS_URL=redis://nobody.invalid/"}} {
		said := failing(t, append(env, row...))
		if !strings.Contains(said, "CHAT2RESPONSE_REDIS_URL: Redis does not answer") || strings.Contains(said, "hide-me") {
			t.Errorf("%v: %s", row, said)
		}
	}
	if said := failing(t, env, "--keys-backend=redis://127.0.0.1:1/"); !strings.Contains(said, "--keys-backend: Redis does not answer") || !strings.Contains(said, "refused") {
		t.Error(said)
	}
}

func TestServeRefusals(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	sled := filepath.Join(dir, "keys.db")
	for _, d := range []string{"conf", "db"} {
		if err := os.MkdirAll(filepath.Join(sled, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	bad := filepath.Join(dir, "mcp.json")
	if err := os.WriteFile(bad, []byte(`{"mcpServers":{"x":{"comand":"y"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		want string
		env  []string
		args []string
	}{
		{"BIND_ADDR is \"" + taken.Addr().String() + "\", where another program listens", []string{"BIND_ADDR=" + taken.Addr().String()}, nil},
		{"CHAT2RESPONSE_ADMIN_ADDR is", []string{"CHAT2RESPONSE_ADMIN_ADDR=" + taken.Addr().String()}, nil},
		{"sled database", nil, []string{"--keys-backend=sled:" + sled}},
		{"unknown flag: --features", nil, []string{"--features"}},
		{"neither a command nor a file", nil, []string{"mpc.json"}},
		{"too many", nil, []string{"a.json", "b.json"}},
		{"comand", nil, []string{bad}},
		{"must be caddyfile or json", nil, []string{"--print-config=yaml"}},
		{"OPENAI_API_KEY_FILE", []string{"OPENAI_API_KEY_FILE={x}"}, nil},
		// A8: none of these says a password again.
		{"OPENAI_BASE_URL is \"https://…@x\"", []string{"OPENAI_BASE_URL=https://me:hide-me@x"}, nil},
		{"neither a command nor a file", nil, []string{"redis://me:hide-me@127.0.0.1:1/"}},
		{"too many", nil, []string{"a.json", "redis://me:hide-me@127.0.0.1:1/"}},
		{"unknown", nil, []string{"--keys-backend=me:hide-me@127.0.0.1:1"}},
	} {
		if said := failing(t, row.env, row.args...); !strings.Contains(said, row.want) || strings.Contains(said, "hide-me") {
			t.Errorf("%v %v: no %q in %s", row.env, row.args, row.want, said)
		}
	}
}

// Where keys open nothing and no place was named for them, they are in memory.
func TestKeysFallBackToMemory(t *testing.T) {
	_, env := demoUpstream(t)
	self := command(t, nil)
	if err := os.WriteFile(filepath.Join(self.Dir, "data"), nil, 0o600); err != nil { // a file where the folder would be
		t.Fatal(err)
	}
	start := func(env ...string) (said string) {
		p := command(t, append(env, "BIND_ADDR="+freeAddr(t)))
		p.Dir = self.Dir
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { p.Wait(); close(done) }()
		select {
		case <-p.up:
		case <-done:
		case <-time.After(time.Minute):
			t.Error("neither up nor ended")
		}
		p.Process.Signal(syscall.SIGTERM)
		<-done
		return p.stderr()
	}
	if said := start(env...); !strings.Contains(said, "keys      memory (until the process ends)") {
		t.Error(said)
	}
	for _, more := range []string{"OPENAI_API_KEY=sk-x", "CHAT2RESPONSE_SLED_PATH=data/keys.db"} {
		if said := start(append(env, more)...); strings.Contains(said, "in memory") || !strings.Contains(said, "opening the key store") {
			t.Errorf("%s: %s", more, said)
		}
	}
}

// What is printed is what runs, and Caddy takes it.
func TestPrintConfig(t *testing.T) {
	env := []string{"OPENAI_API_KEY=hide-me", "CHAT2RESPONSE_PROXY_URL=http://u:hide-me@p:1", "CHAT2RESPONSE_SEAL_KEY=0123456789abcdef", "CORS_ALLOWED_ORIGINS=https://a.example", "CHAT2RESPONSE_ACCESS_LOG=1"}
	args := []string{"--keys-backend=redis://:hide-me@host:1/", "--redis-pool-max=3"}
	outputs := map[string]string{}
	for _, form := range []string{"", "=json"} {
		p := command(t, env, append(args, "--print-config"+form)...)
		if err := p.Run(); err != nil {
			t.Fatal(err, p.stderr())
		}
		outputs[form] = p.out.String()
	}
	if strings.Contains(outputs[""]+outputs["=json"], "hide-me") {
		t.Error("it shows a secret")
	}
	if !strings.HasPrefix(outputs[""], "# It needs these variables where it runs: CHAT2RESPONSE_PROXY_URL, CHAT2RESPONSE_REDIS_URL, CHAT2RESPONSE_SEAL_KEY, OPENAI_API_KEY\n") {
		t.Error(outputs[""])
	}
	adapted, _, err := tryAdapt(outputs[""])
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	json.Unmarshal(adapted, &a)
	json.Unmarshal([]byte(outputs["=json"]), &b)
	if fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("the two forms differ:\n%s\n%s", adapted, outputs["=json"])
	}
}

// Any settings that are accepted make a configuration that Caddy accepts, without a
// warning.
func TestSettingsMakeConfigurations(t *testing.T) {
	for name, text := range map[string]string{"OPENAI_API_KEY": "k", "CHAT2RESPONSE_SEAL_KEY": "0123456789abcdef", "CHAT2RESPONSE_REDIS_URL": "redis://127.0.0.1:1/", "CHAT2RESPONSE_PROXY_URL": "http://p:1"} {
		t.Setenv(name, text)
	}
	quoted := filepath.Join(t.TempDir(), "with space #1", "keys.db")
	for i, flags := range []map[string]string{
		{},
		{"openai-base-url": "http://[::1]:8000", "upstream-mode": "chat", "dialect": "llama.cpp", "bind-addr": "[::1]:8088", "http-timeout-seconds": "0", "cors-allowed-origins": "off", "redis-url": "", "sled-path": quoted},
		{"openai-api-key": "", "redis-url": "", "bind-addr": ":1", "no-proxy": "1", "log-level": "off", "access-log": "1", "admin-addr": "unix//tmp/x.sock", "keys-default-ttl-seconds": "0", "keys-allow-no-expiration": "1"},
		{"cors-allowed-origins": "https://a.example,http://localhost:1", "cors-allow-credentials": "1", "cors-allowed-methods": "GET,POST", "cors-allowed-headers": "a,b", "redis-pool-max": "2"},
	} {
		values, err := dropin.Gather(flags, dropin.Place{Env: os.LookupEnv, Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		config, err := values.Check("", "")
		if err != nil {
			t.Fatal(err)
		}
		notes := len(config.Notes)
		adapted, err := adaptConfig(config)
		if err != nil {
			t.Errorf("%d: %v\n%s", i, err, config.Caddyfile())
			continue
		}
		if len(config.Notes) > notes {
			t.Errorf("%d: %v", i, config.Notes[notes:])
		}
		if _, err := caddyValidate(t, adapted); err != nil {
			t.Errorf("%d: %v\n%s", i, err, config.Caddyfile())
		}
	}
}

// A6: the demonstration listens on this machine alone, takes no port that another program has, not even one of the same
// user, and ignores no flag.
func TestDemoListens(t *testing.T) {
	_, env := demoUpstream(t)
	p := serving(t, env, "--keys-backend=memory")
	addr := strings.TrimPrefix(p.url, "http://")
	_, port, _ := net.SplitHostPort(addr)
	for want, args := range map[string][]string{
		"--listen is \"" + addr + "\", where another program listens":  {"--demo", "--listen", addr},
		"--listen is \":" + port + "\", where another program listens": {"--demo", "--listen=:" + port},
		"must be an address such as 127.0.0.1:8088":                    {"--demo", "--listen=8088"},
		"would not look at --bind-addr, --access-log":                  {"--demo", "--bind-addr=" + addr, "--access-log"},
		"--listen is for --demo":                                       {"--listen=" + addr},
	} {
		if said := failing(t, nil, args...); !strings.Contains(said, want) {
			t.Errorf("%v: no %q in %s", args, want, said)
		}
	}
	cmd := &cobra.Command{}
	setUpCommand(cmd)
	listen := cmd.Flags().Lookup("listen").DefValue
	if !loopback(listen) {
		t.Errorf("by default it listens on %s", listen)
	}
	config, err := demoConfig(listen, "localhost:1", "")
	if err != nil {
		t.Fatal(err)
	}
	encoder, want := string(config.Logging.Logs["default"].EncoderRaw), string(caddyconfig.JSON(dropin.LogFilter(), nil))
	if encoder != want || !strings.Contains(want, "request\\u003eheaders\\u003eX-Api-Key") {
		t.Errorf("A3: its log is %s", encoder)
	}
	for listen, url := range map[string]string{":9000": "http://localhost:9000/", "0.0.0.0:9000": "http://localhost:9000/", "127.0.0.1:8088": "http://127.0.0.1:8088/", "[::1]:9000": "http://[::1]:9000/"} {
		if text := demoText(listen); !strings.Contains(text, "curl -N "+url+"v1/responses") {
			t.Errorf("%s: %s", listen, text)
		}
	}
}

// A3: the filter of the log is the same as JSON and as Caddyfile.
func TestLogFilterForms(t *testing.T) {
	v, err := dropin.Gather(nil, dropin.Place{Env: os.LookupEnv, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	c, err := v.Check("memory", "")
	if err != nil {
		t.Fatal(err)
	}
	config, err := adaptConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Logging struct {
			Logs map[string]struct{ Encoder any }
		}
	}
	if err := json.Unmarshal(config, &got); err != nil {
		t.Fatal(err)
	}
	var want any
	json.Unmarshal(caddyconfig.JSON(dropin.LogFilter(), nil), &want)
	if !reflect.DeepEqual(got.Logging.Logs["default"].Encoder, want) {
		t.Errorf("the Caddyfile's is %v, the other %v", got.Logging.Logs["default"].Encoder, want)
	}
}

func TestHelpAndVersion(t *testing.T) {
	for args, want := range map[string]string{"--help": "--cors-max-age <n>", "-h": "Usage:", "--version": " (Caddy ", "--print-env": "CORS_MAX_AGE=3600", "keys --help": "rotate"} {
		p := command(t, nil, strings.Fields(args)...)
		if err := p.Run(); err != nil || !strings.Contains(p.out.String(), want) {
			t.Errorf("%s: %v: %s %s", args, err, p.out.String(), p.stderr())
		}
	}
}

// A stream in flight is finished when the process is told to end.
func TestGracefulStop(t *testing.T) {
	slow := httptest.NewServer(fakeopenai.New(fakeopenai.Options{Dialect: "generic", Scenario: "demo", Delay: 50 * time.Millisecond}))
	defer slow.Close()
	p := serving(t, []string{"OPENAI_BASE_URL=" + slow.URL + "/v1", "UPSTREAM_MODE=chat"}, "--keys-backend=memory")
	resp, err := client.Post(p.url+"/v1/responses", "application/json", strings.NewReader(`{"model":"demo","input":"x","stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(lines)
	if err != nil || !bytes.Contains(rest, []byte("event: response.completed")) {
		t.Errorf("the stream ended with %v: %s", err, rest)
	}
}

// The tools of an mcp.json run, for a client that knows nothing of them.
func TestServeMCP(t *testing.T) {
	_, env := demoUpstream(t)
	k := newKit(t)
	file := filepath.Join(t.TempDir(), "mcp.json")
	if err := os.WriteFile(file, []byte(`{"mcpServers":{"kit":{"url":"${KIT}","required":true}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	p := serving(t, append(env, "KIT="+k.url), file, "--keys-backend=memory")
	r := p.do("POST", "/proxy", `{"model":"demo","messages":[{"role":"user","content":"Use your echo."}]}`)
	if b := bodyOf(r); !strings.Contains(b, `"type":"mcp_call"`) || !strings.Contains(b, "kit_echo says: echo of ") {
		t.Errorf("%d %s", r.StatusCode, b)
	}
	// Not for one who comes from afar, unless that is meant.
	afar := []string{"X-Forwarded-For", "203.0.113.9"}
	if r := p.do("POST", "/proxy", `{"model":"demo","messages":[{"role":"user","content":"Use your echo."}]}`, afar...); strings.Contains(bodyOf(r), "mcp_call") {
		t.Error("a stranger has tools")
	}
	p = serving(t, append(env, "KIT="+k.url), file, "--keys-backend=memory", "--mcp-allow-unauthenticated")
	if r := p.do("POST", "/proxy", `{"model":"demo","messages":[{"role":"user","content":"Use your echo."}]}`, afar...); !strings.Contains(bodyOf(r), `"type":"mcp_call"`) {
		t.Error("a stranger has no tools")
	}
}

// Responses are remembered where the keys are, unless something else is said.
func TestServeState(t *testing.T) {
	_, env := demoUpstream(t)
	remembers := func(p *process) *http.Response {
		t.Helper()
		var first struct{ ID string }
		r := p.do("POST", "/v1/responses", `{"model":"demo","input":"My secret number is 7."}`)
		if err := json.Unmarshal([]byte(bodyOf(r)), &first); err != nil {
			t.Fatal(err)
		}
		return p.do("POST", "/v1/responses", `{"model":"demo","input":"And now?","previous_response_id":"`+first.ID+`"}`)
	}
	holds := func(p *process, file, text string) bool {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(p.Dir, file))
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Contains(b, []byte(text))
	}
	// A2: in no file that nobody has named.
	p := serving(t, env)
	if r := remembers(p); r.StatusCode != 200 {
		t.Errorf("%d %s", r.StatusCode, bodyOf(r))
	}
	if _, err := os.Stat(filepath.Join(p.Dir, "data")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a folder ./data: %v", err)
	}
	p = serving(t, env, "--keys-backend=bbolt:data/keys.db")
	if r := remembers(p); r.StatusCode != 200 {
		t.Errorf("%d %s", r.StatusCode, bodyOf(r))
	}
	if !holds(p, "data/keys.db", "secret number") || !strings.Contains(p.stderr(), "state     kept 30 days in data/keys.db, not encrypted") {
		t.Error("it is not where the keys are, or not said: " + p.stderr())
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"CHAT2RESPONSE_STATE_KEY=0123456789abcdef", "CHAT2RESPONSE_STATE_KEY_FILE=" + file} {
		p = serving(t, append(env, key), "--state=bbolt:own.db")
		if r := remembers(p); r.StatusCode != 200 {
			t.Errorf("%s: %d %s", key, r.StatusCode, bodyOf(r))
		}
		if holds(p, "own.db", "secret number") || !strings.Contains(p.stderr(), "state     kept 30 days in own.db, encrypted") {
			t.Error(key + ": it is not encrypted, or not said: " + p.stderr())
		}
	}
	p = serving(t, env, "--state=off")
	if r := remembers(p); r.StatusCode != 400 || !strings.Contains(bodyOf(r), "previous_response_id") {
		t.Errorf("it remembers: %d", r.StatusCode)
	}
}

// A2: the start says how long the handler keeps things in memory.
func TestSummaryKnowsHowLong(t *testing.T) {
	if dropin.MemoryTTL != memoryTTL {
		t.Errorf("the start says %s, the handler keeps it %s", dropin.MemoryTTL, memoryTTL)
	}
}

// The service manager is told when the gateway serves, and when it stops.
func TestServiceManagerIsTold(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("sd_notify is Linux's")
	}
	_, env := demoUpstream(t)
	// Not in t.TempDir: the name of a socket has 108 bytes at most.
	dir, err := os.MkdirTemp("", "c2r")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	p := serving(t, append(env, "NOTIFY_SOCKET="+socket.LocalAddr().String()), "--keys-backend=memory")
	hears := func(want string) {
		t.Helper()
		socket.SetReadDeadline(time.Now().Add(30 * time.Second))
		buffer := make([]byte, 4096)
		for {
			n, err := socket.Read(buffer)
			if err != nil {
				t.Fatalf("no %s: %v", want, err)
			}
			if strings.Contains(string(buffer[:n]), want) {
				return
			}
		}
	}
	hears("READY=1")
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	hears("STOPPING=1")
}
