package chat2response

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	_ "github.com/caddyserver/caddy/v2/modules/logging"
	_ "github.com/caddyserver/caddy/v2/modules/metrics"
	"go.uber.org/goleak"

	"github.com/labiium/chat2response/internal/fakeopenai"
)

// storageDir is one directory for all tests: Caddy cleans its storage in the
// background, which would race with the removal of a test's own directory.
var storageDir = filepath.Join(os.TempDir(), "chat2response-test")

func TestMain(m *testing.M) {
	if address := os.Getenv(asClient); address != "" {
		beClient(address)
	}
	clientProcess = func(_, _ netip.AddrPort) bool { return true } // the tests' own process, which listens
	if config := os.Getenv(stateChild); config != "" {
		runStateChild(config)
	}
	if len(os.Args) > 1 && os.Args[1] == "mcp-server" { // run again by the tests of MCP
		serveStdio()
		return
	}
	if os.Getenv(asCommand) != "" {
		beCommand()
	}
	if len(os.Args) > 1 && os.Args[1] == "caddy-run" { // and by those of its end
		runCaddy(os.Args[2])
		return
	}
	caddy.RegisterModule(accessLogs{})
	goleak.VerifyTestMain(m,
		// certmagic's cache of certificates lives as long as the process: Caddy makes
		// it once, whether a site has TLS or not.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*Cache).maintainAssets"),
		// The sweeper of reverse_proxy's dynamic hosts is started in an init function.
		goleak.IgnoreAnyFunction("github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy.init.0.func1"),
		// A lock on Caddy's storage is freshened by a goroutine that wakes every five
		// seconds, and only then sees that it has been released.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
	)
}

// gateway is a Caddy that runs in this process. There is one at a time, as
// Caddy's configuration is global.
type gateway struct {
	t    *testing.T
	addr string // host:port
	url  string // of the site, without /v1

	loads atomic.Int64 // how many configurations it has had
}

// start runs Caddy with a site of the given directives, and stops it with the
// test. {port} in front of the site block is a free one.
func start(t *testing.T, directives string) *gateway {
	t.Helper()
	g := &gateway{t: t, addr: freeAddr(t)}
	g.url = "http://" + g.addr
	g.load(directives)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
		takeLogs()
	})
	return g
}

// load replaces the configuration, as `caddy reload` does.
func (g *gateway) load(directives string) {
	g.t.Helper()
	if err := g.tryLoad(directives); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gateway) tryLoad(directives string) error {
	g.t.Helper()
	_, port, _ := net.SplitHostPort(g.addr)
	config, _, err := tryAdapt(`{
	admin off
	persist_config off
	auto_https off
	storage file_system ` + storageDir + `
	grace_period 5s
	log {
		output chat2response_test
		format json
	}
}
http://:` + port + ` {
	bind 127.0.0.1
	log {
		output chat2response_test
		format json
	}
` + directives + `
}
`)
	if err != nil {
		return err
	}
	g.loads.Add(1)
	return caddy.Load(config, true)
}

// roundTrip sends a request. Behind a reload it tries again: Caddy's old and new
// sockets share the port (SO_REUSEPORT), and a connection that the kernel has put
// into the old one's queue is dropped with it.
func (g *gateway) roundTrip(r *http.Request) (resp *http.Response, err error) {
	for range 3 {
		if r.GetBody != nil {
			r.Body, _ = r.GetBody()
		}
		resp, err = client.Do(r)
		if g.loads.Load() < 2 || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			break
		}
	}
	return resp, err
}

// adapt turns a Caddyfile into JSON.
func adapt(t *testing.T, source string) []byte {
	t.Helper()
	config, _, err := tryAdapt(source)
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, source)
	}
	return config
}

func tryAdapt(source string) ([]byte, []caddyconfig.Warning, error) {
	return caddyconfig.GetAdapter("caddyfile").Adapt([]byte(source), map[string]any{"filename": "Caddyfile"})
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// fake starts a fake upstream and stops it with the test.
func fake(t *testing.T, o fakeopenai.Options) (*fakeopenai.Server, string) {
	t.Helper()
	s := fakeopenai.New(o)
	return s, upstream(t, s.ServeHTTP)
}

// upstream starts a server of a test's own and returns its host:port.
func upstream(t *testing.T, handle http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// deadAddr is an address where nothing listens.
func deadAddr(t *testing.T) string { return freeAddr(t) }

// answer is an HTTP answer, read to its end.
type httpAnswer struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

func (g *gateway) do(method, path, body string, header ...string) httpAnswer {
	g.t.Helper()
	r, err := http.NewRequest(method, g.url+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] == "" {
			r.Header.Del(header[i])
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	return g.send(r)
}

func (g *gateway) send(r *http.Request) httpAnswer {
	g.t.Helper()
	resp, err := g.roundTrip(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return httpAnswer{resp.StatusCode, resp.Header, string(b), err}
}

func (g *gateway) post(path, body string, header ...string) httpAnswer {
	g.t.Helper()
	return g.do(http.MethodPost, path, body, header...)
}

func (g *gateway) get(path string, header ...string) httpAnswer {
	g.t.Helper()
	return g.do(http.MethodGet, path, "", header...)
}

// client follows no redirects and decompresses nothing.
var client = &http.Client{
	Transport:     &http.Transport{DisableCompression: true, DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// apiError is the error of an answer in OpenAI's form.
type apiError struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

func (e apiError) code() string {
	if e.Code == nil {
		return ""
	}
	return *e.Code
}

func (e apiError) param() string {
	if e.Param == nil {
		return ""
	}
	return *e.Param
}

// openAIError demands that the answer is OpenAI's error body, with all its
// members.
func (a httpAnswer) openAIError(t *testing.T) apiError {
	t.Helper()
	var body struct {
		Error map[string]any `json:"error"`
	}
	var typed struct {
		Error apiError `json:"error"`
	}
	if a.status < 400 || json.Unmarshal([]byte(a.body), &body) != nil || json.Unmarshal([]byte(a.body), &typed) != nil {
		t.Fatalf("%d %s: no error of OpenAI's", a.status, a.body)
	}
	for _, name := range []string{"message", "type", "param", "code"} {
		if _, ok := body.Error[name]; !ok {
			t.Errorf("the error has no %s: %s", name, a.body)
		}
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("an error of type %q", got)
	}
	if typed.Error.Message == "" || typed.Error.Type == "" {
		t.Errorf("an error that says nothing: %s", a.body)
	}
	return typed.Error
}

// object decodes a JSON object.
func object(t *testing.T, body []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	return m
}

// dig walks through decoded JSON: names for objects, numbers for arrays; negative
// ones count from the end. What is not there is nil.
func dig(v any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			list, _ := v.([]any)
			if step < 0 {
				step += len(list)
			}
			if step < 0 || step >= len(list) {
				return nil
			}
			v = list[step]
		}
	}
	return v
}

// event is a server-sent event as it arrived.
type event struct {
	name, data string
	comment    string
	at         time.Time
}

// readEvents reads a stream as it comes and calls fn for each event and comment.
// It returns the error that ended it, nil for a clean end.
func readEvents(r io.Reader, fn func(event)) error {
	var e event
	buf, line := make([]byte, 32<<10), []byte{}
	for {
		n, err := r.Read(buf)
		for _, b := range buf[:n] {
			if b != '\n' {
				line = append(line, b)
				continue
			}
			text := string(line)
			line = line[:0]
			name, value, _ := strings.Cut(text, ":")
			value = strings.TrimPrefix(value, " ")
			switch {
			case text == "" && (e.data != "" || e.comment != ""):
				e.at = time.Now()
				fn(e)
				e = event{}
			case name == "data":
				e.data += value
			case name == "event":
				e.name = value
			case name == "":
				e.comment = value
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// events are all events of a finished stream, without comments.
func (a httpAnswer) events() (list []event) {
	readEvents(strings.NewReader(a.body), func(e event) {
		if e.data != "" {
			list = append(list, e)
		}
	})
	return list
}

// live is a stream that is being read in the background.
type live struct {
	resp   *http.Response // set before the first event comes
	events chan event     // closed at the end
	cancel context.CancelFunc
	err    error // how it ended, when events is closed
}

// stream posts a body and reads the answer as it comes. It does not wait for the
// header, which may come with the first event.
func (g *gateway) stream(path, body string, header ...string) *live {
	g.t.Helper()
	r, err := http.NewRequest(http.MethodPost, g.url+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &live{events: make(chan event, 10_000), cancel: cancel}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(l.events)
		if l.resp, l.err = g.roundTrip(r.WithContext(ctx)); l.err != nil {
			return
		}
		defer l.resp.Body.Close()
		var in io.Reader = l.resp.Body
		if l.resp.Header.Get("Content-Encoding") == "gzip" {
			if in, l.err = gzip.NewReader(l.resp.Body); l.err != nil {
				return
			}
		}
		l.err = readEvents(in, func(e event) { l.events <- e })
	}()
	g.t.Cleanup(func() { cancel(); <-done })
	return l
}

// next waits for the next event that has data. It fails the test after a second:
// nothing here takes so long.
func (l *live) next(t *testing.T) event {
	t.Helper()
	for {
		e, ok := l.any(t)
		if !ok {
			t.Fatalf("the stream has ended: %v", l.err)
		}
		if e.data != "" {
			return e
		}
	}
}

func (l *live) any(t *testing.T) (event, bool) {
	t.Helper()
	select {
	case e, ok := <-l.events:
		return e, ok
	case <-time.After(5 * time.Second):
		t.Fatal("no event came")
		return event{}, false
	}
}

// rest reads all events that are still to come.
func (l *live) rest(t *testing.T) (list []event) {
	t.Helper()
	for {
		e, ok := l.any(t)
		if !ok {
			return list
		}
		list = append(list, e)
	}
}

// text are the text deltas of a stream of either API, joined.
func text(events []event) string {
	var b strings.Builder
	for _, e := range events {
		var d struct {
			Type    string `json:"type"`
			Delta   string `json:"delta"`
			Choices []struct {
				Delta struct {
					Content string `json:"content"`
				} `json:"delta"`
			} `json:"choices"`
		}
		if e.data == "[DONE]" || json.Unmarshal([]byte(e.data), &d) != nil {
			continue
		}
		if d.Type == "response.output_text.delta" {
			b.WriteString(d.Delta)
		}
		if len(d.Choices) > 0 {
			b.WriteString(d.Choices[0].Delta.Content)
		}
	}
	return b.String()
}

// kinds are the types of a Responses stream's events.
func kinds(events []event) (list []string) {
	for _, e := range events {
		if e.data == "[DONE]" {
			list = append(list, e.data)
		} else if e.data != "" {
			list = append(list, e.name)
		}
	}
	return list
}

func count(list []string, s string) (n int) {
	for _, e := range list {
		if e == s {
			n++
		}
	}
	return n
}

// chatBody and responsesBody are the smallest requests.
func chatBody(model string, stream bool) string {
	return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"Hello"}],"stream":%v}`, model, stream)
}

func responsesBody(model string, stream bool) string {
	return fmt.Sprintf(`{"model":%q,"input":"Hello","stream":%v}`, model, stream)
}

// accessLogs is a log writer that keeps what is written to it. Caddy's own write
// to files, from goroutines that outlive the test.
type accessLogs struct{}

var logs struct {
	sync.Mutex
	lines [][]byte
}

func (accessLogs) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.writers.chat2response_test", New: func() caddy.Module { return new(accessLogs) }}
}

func (accessLogs) String() string                                  { return "chat2response_test" }
func (accessLogs) WriterKey() string                               { return "chat2response_test" }
func (accessLogs) OpenWriter() (io.WriteCloser, error)             { return accessLogs{}, nil }
func (accessLogs) Close() error                                    { return nil }
func (accessLogs) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { d.Next(); return nil }

func (accessLogs) Write(b []byte) (int, error) {
	logs.Lock()
	defer logs.Unlock()
	logs.lines = append(logs.lines, bytes.Clone(b))
	return len(b), nil
}

// takeLogs returns the log's entries since it was last called.
func takeLogs() (entries []map[string]any) {
	logs.Lock()
	defer logs.Unlock()
	for _, line := range logs.lines {
		var m map[string]any
		if json.Unmarshal(line, &m) == nil {
			entries = append(entries, m)
		}
	}
	logs.lines = nil
	return entries
}

// accessLog waits for the access log's entry of a request to this gateway: it is
// written after the answer.
func (g *gateway) accessLog() map[string]any {
	g.t.Helper()
	for range 400 {
		for _, e := range takeLogs() {
			if name, _ := e["logger"].(string); strings.HasPrefix(name, "http.log.access") && dig(e, "request", "host") == g.addr {
				return e
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	g.t.Fatal("there is no access log")
	return nil
}
