//go:build attack && linux

package attack

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	binaryFlag = flag.String("binary", "", "the gateway to attack; default: it is built")
	seedFlag   = flag.Uint64("seed", 0, "of the generators; default: a new one, which is printed")
)

var binary string

const (
	operatorKey = "sk-operator-canary-0123456789"
	adminToken  = "attack-admin-token-0123456789"
	waiting     = 30 * time.Second // for what must come
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "attack")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		if *seedFlag == 0 {
			*seedFlag = rand.Uint64()
		}
		fmt.Printf("seed %d\n", *seedFlag)
		if binary = *binaryFlag; binary == "" {
			binary = filepath.Join(dir, "chat2response")
			build := exec.Command("go", "build", "-o", binary, "github.com/labiium/chat2response/cmd/chat2response")
			build.Stderr = os.Stderr
			if err := build.Run(); err != nil {
				return 1
			}
		}
		return m.Run()
	}())
}

// random is the generator of one test: the same for the same seed, whichever tests run beside it.
func random(t *testing.T) *rand.Rand {
	var sum uint64
	for _, b := range []byte(t.Name()) {
		sum = sum*31 + uint64(b)
	}
	t.Logf("-seed %d", *seedFlag)
	return rand.New(rand.NewPCG(*seedFlag, sum))
}

// seen is a request that reached the upstream.
type seen struct {
	method, uri string
	header      http.Header
	body        []byte
}

// provider is the fake upstream. It answers nothing without the operator's key, unless it is told to, and remembers all
// that it was asked.
type provider struct {
	*httptest.Server
	mu   sync.Mutex
	seen []seen
	hook func(w http.ResponseWriter, r *http.Request, body []byte) bool
}

const answerText = "the answer of the upstream"

func newProvider(t *testing.T) *provider {
	p := new(provider)
	p.Server = httptest.NewServer(p)
	t.Cleanup(func() { p.CloseClientConnections(); p.Close() })
	return p
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	p.mu.Lock()
	if len(p.seen) < 20_000 {
		p.seen = append(p.seen, seen{r.Method, r.RequestURI, r.Header.Clone(), body[:min(len(body), 64<<10)]})
	}
	hook := p.hook
	p.mu.Unlock()
	if hook != nil && hook(w, r, body) {
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+operatorKey {
		http.Error(w, `{"error":{"message":"wrong key"}}`, http.StatusUnauthorized)
		return
	}
	chat(w, body, answerText, "")
}

// chat answers a Chat Completions request, streamed or not.
func chat(w http.ResponseWriter, body []byte, text, reasoning string) {
	quoted, _ := json.Marshal(text)
	thought := ""
	if reasoning != "" {
		q, _ := json.Marshal(reasoning)
		thought = `"reasoning_content":` + string(q) + `,`
	}
	if !bytes.Contains(body, []byte(`"stream":true`)) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant",%s"content":%s},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`, thought, quoted)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for _, delta := range []string{`{"role":"assistant",` + thought + `"content":` + string(quoted) + `}`} {
		fmt.Fprintf(w, "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":%s,\"finish_reason\":null}]}\n\n", delta)
	}
	fmt.Fprint(w, "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
}

// answers sets what the upstream does in place of its usual answer.
func (p *provider) answers(hook func(w http.ResponseWriter, r *http.Request, body []byte) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hook = hook
}

// take returns what the upstream was asked since the last take.
func (p *provider) take() []seen {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.seen
	p.seen = nil
	return list
}

// gateway is the binary, running.
type gateway struct {
	t    *testing.T
	addr string
	dir  string
	up   *provider
	cmd  *exec.Cmd
	log  string
}

// options of a gateway that has a key of the operator's and asks its clients for keys.
const managed = `chat2response {UP} {
	mode chat
	dialect vllm
	api_key ` + operatorKey + `
	max_bodies 256MiB
	keys memory {
		admin_token ` + adminToken + `
	}
	state memory
}`

// begin starts the gateway with one site, in which {UP} is the upstream's address and {DIR} a directory of its own.
func begin(t *testing.T, site string) *gateway {
	t.Helper()
	g, err := try(t, site)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// try is begin for a configuration that may be refused.
func try(t *testing.T, site string) (*gateway, error) {
	t.Helper()
	g := &gateway{t: t, dir: t.TempDir(), up: newProvider(t)}
	g.log = filepath.Join(g.dir, "log")
	var err error
	for range 3 { // somebody else can take the port
		var wrong bool
		if wrong, err = g.start(site); err == nil {
			return g, nil
		}
		if wrong {
			break
		}
	}
	return nil, err
}

func (g *gateway) start(site string) (wrong bool, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return true, err
	}
	g.addr = l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(g.addr)
	site = strings.NewReplacer("{UP}", strings.TrimPrefix(g.up.URL, "http://"), "{DIR}", g.dir).Replace(site)
	config := filepath.Join(g.dir, "Caddyfile")
	text := "{\n admin off\n persist_config off\n auto_https off\n metrics\n storage file_system " + g.dir + "/storage\n servers {\n  protocols h1 h2c\n }\n" +
		" log {\n  level WARN\n  output file " + g.log + "\n }\n}\nhttp://:" + port + " {\n bind 127.0.0.1\n metrics /metrics\n" + site + "\n}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return true, err
	}
	var out bytes.Buffer
	g.cmd = exec.Command(binary, "run", "--config", config, "--adapter", "caddyfile")
	g.cmd.Dir = g.dir
	g.cmd.Env = append(slices.DeleteFunc(os.Environ(), func(e string) bool {
		return strings.HasPrefix(e, "OPENAI_") || strings.HasPrefix(e, "CHAT2RESPONSE_")
	}), "HOME="+g.dir, "XDG_DATA_HOME="+g.dir, "XDG_CONFIG_HOME="+g.dir)
	g.cmd.Stdout, g.cmd.Stderr = &out, &out
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := g.cmd.Start(); err != nil {
		return true, err
	}
	ended := make(chan struct{})
	go func() { _ = g.cmd.Wait(); close(ended) }()
	stop := func() { _ = g.cmd.Process.Kill(); <-ended }
	for end := time.Now().Add(2 * waiting); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		select {
		case <-ended:
			taken := strings.Contains(out.String(), "address already in use")
			return !taken, fmt.Errorf("the gateway does not start: %s", out.String())
		default:
		}
		if res, err := http.Get("http://" + g.addr + "/status"); err == nil {
			res.Body.Close()
			g.t.Cleanup(stop)
			return false, nil
		}
	}
	stop()
	return true, fmt.Errorf("the gateway does not answer: %s", out.String())
}

// alive fails the test if the gateway has ended.
func (g *gateway) alive() {
	g.t.Helper()
	if err := g.cmd.Process.Signal(syscall.Signal(0)); err != nil {
		log, _ := os.ReadFile(g.log)
		g.t.Fatalf("the gateway is gone: %v\n%s", err, log[max(0, len(log)-4000):])
	}
}

// memory is what the gateway has resident in MiB.
func (g *gateway) memory() int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kib, _ := strconv.Atoi(f[1])
			return kib >> 10
		}
	}
	return 0
}

// watch takes the most that the gateway has resident until the function returned is called.
func (g *gateway) watch() (most func() int) {
	stop, peak := make(chan struct{}), make(chan int)
	go func() {
		top := 0
		for {
			top = max(top, g.memory())
			select {
			case <-stop:
				peak <- max(top, g.memory())
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() int { close(stop); return <-peak }
}

// reply is an answer.
type reply struct {
	status int
	header http.Header
	body   string
}

var client = &http.Client{
	Timeout:   waiting,
	Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 32},
	CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	},
}

// ask sends a request; headers are name, value and so on. An answer is read up to 16 MiB.
func (g *gateway) ask(method, path, body string, headers ...string) (reply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), waiting)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+g.addr+path, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := client.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	return reply{res.StatusCode, res.Header, string(b)}, err
}

// must is ask where an answer has to come.
func (g *gateway) must(method, path, body string, headers ...string) reply {
	g.t.Helper()
	r, err := g.ask(method, path, body, headers...)
	if err != nil {
		g.alive()
		g.t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

// mint makes a key.
func (g *gateway) mint(request string) string {
	g.t.Helper()
	r := g.must("POST", "/keys/generate", request, "Authorization", "Bearer "+adminToken)
	var made map[string]any
	if err := json.Unmarshal([]byte(r.body), &made); err != nil || r.status/100 != 2 {
		g.t.Fatalf("no key: %d %s", r.status, r.body)
	}
	for _, v := range made {
		if s, _ := v.(string); strings.HasPrefix(s, "sk_") && len(s) > 40 {
			return s
		}
	}
	g.t.Fatalf("no key in %s", r.body)
	return ""
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

// hello is the smallest useful request.
const hello = `{"model":"m","messages":[{"role":"user","content":"hello"}]}`

// canary asks with a good key, again and again on connections of its own, until the function returned is called; each
// time it must be served.
func (g *gateway) canary(key string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var took []time.Duration
	var failures []string
	own := &http.Client{Timeout: 2 * waiting, Transport: &http.Transport{DisableKeepAlives: true}}
	go func() {
		defer close(done)
		for n := 0; n < 10_000 && (ctx.Err() == nil || n < 2); n++ {
			began := time.Now()
			// One that passes unread, and one that is read and translated.
			path, body := "/v1/chat/completions", hello
			if n%2 == 1 {
				path, body = "/v1/responses", `{"model":"m","store":false,"input":"hello"}`
			}
			r, _ := http.NewRequest("POST", "http://"+g.addr+path, strings.NewReader(body))
			r.Header.Set("Authorization", "Bearer "+key)
			r.Header.Set("Content-Type", "application/json")
			res, err := own.Do(r)
			if err != nil {
				failures = append(failures, err.Error())
			} else {
				body, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if res.StatusCode != 200 || !strings.Contains(string(body), answerText) {
					failures = append(failures, fmt.Sprintf("%s: %d %.200s", path, res.StatusCode, body))
				}
			}
			took = append(took, time.Since(began))
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() {
		g.t.Helper()
		cancel()
		<-done
		slices.Sort(took)
		g.t.Logf("the good key: %d requests, p50 %v, p99 %v", len(took), took[len(took)/2], took[len(took)*99/100])
		if len(failures) > 0 {
			g.alive()
			g.t.Errorf("the good key was not served %d times of %d, first: %s", len(failures), len(took), failures[0])
		}
	}
}

// dial opens a connection that ends with the test.
func (g *gateway) dial() (net.Conn, error) {
	c, err := net.DialTimeout("tcp", g.addr, waiting)
	if err == nil {
		_ = c.SetDeadline(time.Now().Add(2 * waiting))
	}
	return c, err
}

// raw sends bytes on a connection of its own and reads one HTTP answer. Status 0 means that there was none.
func (g *gateway) raw(message string) reply {
	g.t.Helper()
	return g.rawWithin(2*waiting, message)
}

// rawWithin is raw where the gateway may rightly wait for more: what does not come in time is no answer.
func (g *gateway) rawWithin(d time.Duration, message string) reply {
	g.t.Helper()
	c, err := g.dial()
	if err != nil {
		g.alive()
		g.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(d))
	if _, err := io.WriteString(c, message); err != nil {
		return reply{}
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return reply{}
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return reply{res.StatusCode, res.Header, string(body)}
}

// metrics are the series of the gateway's own collectors.
func (g *gateway) metrics() (series []string, size int) {
	g.t.Helper()
	r := g.must("GET", "/metrics", "")
	for line := range strings.Lines(r.body) {
		if strings.HasPrefix(line, "caddy_chat2response_") {
			series = append(series, strings.TrimSpace(line))
		}
	}
	return series, len(r.body)
}

// decode reads a JSON answer.
func decode(t *testing.T, s string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%v in %.300s", err, s)
	}
	return v
}

func text(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}
