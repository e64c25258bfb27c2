//go:build unix

package mcpbridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"
)

// realServer is mcp-go's server with a few tools.
func realServer() *mcpserver.MCPServer {
	s := mcpserver.NewMCPServer("real", "2", mcpserver.WithToolCapabilities(true), mcpserver.WithRecovery())
	s.AddTool(mcp.NewTool("echo", mcp.WithString("text")), func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText(r.GetString("text", "")), nil
	})
	s.AddTool(mcp.NewTool("panics"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) { panic("in the tool") })
	s.AddTool(mcp.NewTool("wait"), func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(300 * time.Millisecond): // a server that stops need not hear that a call is cancelled
			return mcp.NewToolResultText("waited"), nil
		}
	})
	return s
}

func httpServer(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func at5(name, url string) ServerConfig {
	return ServerConfig{Name: name, URL: url, StartTimeout: 5 * time.Second}
}

// The matrix of protocols with mcp-go's own server, over each transport, 50 callers at once.
func TestInteropGo(t *testing.T) {
	sseServer := mcpserver.NewSSEServer(realServer())
	legacy := mcpserver.WithStreamableHTTPProtocolVersions(mcp.LegacyProtocolVersions()...)
	both := mcpserver.NewStreamableHTTPServer(realServer())
	modern := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Protocol-Version") < mcp.LATEST_PROTOCOL_VERSION {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"jsonrpc":"2.0","id":null,"error":{"code":-32022,"message":"Unsupported protocol version","data":{"supported":["2026-07-28"]}}}`)
			return
		}
		both.ServeHTTP(w, r)
	})
	servers := map[string]struct {
		handler  http.Handler
		kind     string
		protocol string
		path     string
	}{
		"both":     {both, "", "2025-11-25", "/mcp"},
		"stateful": {mcpserver.NewStreamableHTTPServer(realServer(), mcpserver.WithStateful(true)), "http", "2025-11-25", "/mcp"},
		"legacy":   {mcpserver.NewStreamableHTTPServer(realServer(), legacy), "", "2025-11-25", "/mcp"},
		"modern":   {modern, "", "2026-07-28", "/mcp"},
		"sse":      {sseServer, "sse", "2025-11-25", "/sse"},
		"guessed":  {sseServer, "", "2025-11-25", "/sse"},
	}
	for name, s := range servers {
		t.Run(name, func(t *testing.T) {
			web := httptest.NewServer(s.handler)
			cfg := at5("r", web.URL+s.path)
			cfg.Type = s.kind
			b := begin(t, cfg)
			st := b.Status()[0]
			if st.State != Ready || st.Protocol != s.protocol || len(st.Tools) != 3 || st.PID != 0 {
				t.Fatalf("%+v", st)
			}
			var wg sync.WaitGroup
			for i := range 50 {
				wg.Go(func() {
					want := fmt.Sprintf("caller %d", i)
					if o := run(t, b, "r_echo", fmt.Sprintf(`{"text":%q}`, want)); o.Text != want {
						t.Errorf("%q: %v", o.Text, o.Err)
					}
				})
			}
			wg.Wait()
			if o := run(t, b, "r_panics", ""); !o.Failed || strings.Contains(o.Text, "goroutine") {
				t.Errorf("%+v", o)
			}
			began := time.Now()
			sess := session(t, b, Request{Limits: Limits{CallTimeout: 100 * time.Millisecond}})
			o := sess.Run(t.Context(), []Call{{"", "r_wait", ""}}, nil)[0]
			sess.Close()
			if !errors.Is(o.Err, ErrTimeout) || time.Since(began) > time.Second {
				t.Errorf("%+v", o)
			}
			stop(t, b)
			web.CloseClientConnections()
			web.Close()
		})
	}
}

// rpcServer answers JSON-RPC over HTTP by hand.
type rpcServer struct {
	t       testing.TB
	mu      sync.Mutex
	seen    []string // "POST initialize", "DELETE", …
	headers []http.Header
	session atomic.Int32 // the session that is valid now; others get 404
	calls   atomic.Int32
	// hook, if set, may answer instead.
	hook func(w http.ResponseWriter, r *http.Request, method string, id json.RawMessage) bool
}

func (s *rpcServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var m fakeMessage
	_ = json.Unmarshal(body, &m)
	s.mu.Lock()
	s.seen = append(s.seen, strings.TrimSpace(r.Method+" "+m.Method))
	s.headers = append(s.headers, r.Header.Clone())
	s.mu.Unlock()
	if s.hook != nil && s.hook(w, r, m.Method, m.ID) {
		return
	}
	current := fmt.Sprint(s.session.Load())
	if got := r.Header.Get("Mcp-Session-Id"); m.Method != "initialize" && m.Method != "server/discover" && got != current {
		http.Error(w, "no such session", http.StatusNotFound)
		return
	}
	if m.ID == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	result := "{}"
	switch m.Method {
	case "initialize":
		w.Header().Set("Mcp-Session-Id", current)
		result = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"rpc","version":"1"}}`
	case "tools/list":
		result = `{"tools":[{"name":"go","inputSchema":{"type":"object"}}]}`
	case "tools/call":
		s.calls.Add(1)
		result = `{"content":[{"type":"text","text":"went"}]}`
	}
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
}

func (s *rpcServer) saw() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// Test 19: a session that the server has forgotten is opened anew, and the call runs once, for 50 callers at a time.
func TestSessionLost(t *testing.T) {
	for _, status := range []int{404, 400} {
		s := &rpcServer{t: t}
		if status == 400 { // older servers say it in words
			s.hook = func(w http.ResponseWriter, r *http.Request, method string, id json.RawMessage) bool {
				if method == "initialize" || r.Header.Get("Mcp-Session-Id") == fmt.Sprint(s.session.Load()) {
					return false
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(400)
				fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}`, orElse(string(id), "null"))
				return true
			}
		}
		b := begin(t, at5("s", httpServer(t, s).URL))
		say(t, b, "s_go", "")
		s.session.Add(1)
		s.calls.Store(0)
		sess := session(t, b, Request{Limits: Limits{Calls: 100, Parallel: 50}})
		out := sess.Run(t.Context(), slices.Repeat([]Call{{"", "s_go", ""}}, 50), nil)
		for _, o := range out {
			if o.Text != "went" {
				t.Fatalf("%d: %q %v", status, o.Text, o.Err)
			}
		}
		if n := s.calls.Load(); n != 50 {
			t.Errorf("%d: the tool ran %d times for 50 calls", status, n)
		}
		if st := b.Status()[0]; st.Restarts != 1 || st.State != Ready {
			t.Errorf("%d: %+v", status, st)
		}
	}
}

// A server that forgets every session at once is not asked without a pause.
func TestSessionNeverKept(t *testing.T) {
	s := &rpcServer{t: t}
	s.hook = func(w http.ResponseWriter, _ *http.Request, method string, _ json.RawMessage) bool {
		if method == "tools/list" {
			http.NotFound(w, nil)
		}
		return method == "tools/list"
	}
	o, _ := options(t)
	o.Backoff = func(int) time.Duration { return time.Hour }
	b := beginWith(t, o, at5("s", httpServer(t, s).URL))
	time.Sleep(100 * time.Millisecond)
	if saw := s.saw(); len(saw) > 5 || b.Status()[0].State != Backoff {
		t.Errorf("%d requests, %+v", len(saw), b.Status()[0])
	}
}

// A server that is away: nothing is known to have run, so a call waits a little for it. One whose answer breaks off is
// not called again.
func TestHTTPLost(t *testing.T) {
	s := &rpcServer{t: t}
	web := httptest.NewServer(s)
	b := begin(t, at5("s", web.URL))
	s.hook = func(w http.ResponseWriter, _ *http.Request, method string, _ json.RawMessage) bool {
		if method != "tools/call" {
			return false
		}
		s.calls.Add(1)
		panic(http.ErrAbortHandler)
	}
	o := run(t, b, "s_go", "")
	if !errors.Is(o.Err, ErrLost) || s.calls.Load() != 1 || strings.Contains(fmt.Sprint(o.Err), "http://") {
		t.Errorf("%d calls: %v", s.calls.Load(), o.Err)
	}
	s.hook = nil
	if o := run(t, b, "s_go", ""); o.Text != "went" {
		t.Errorf("%+v", o)
	}
	sess := session(t, b, Request{})
	web.CloseClientConnections()
	web.Close()
	// The idle connection may look alive to the first call, which then cannot know whether the tool ran.
	if o := sess.Run(t.Context(), []Call{{"", "s_go", ""}}, nil)[0]; !errors.Is(o.Err, ErrLost) && !errors.Is(o.Err, ErrUnavailable) {
		t.Errorf("%+v", o)
	}
	began := time.Now()
	o = sess.Run(t.Context(), []Call{{"", "s_go", ""}}, nil)[0]
	if !errors.Is(o.Err, ErrUnavailable) || time.Since(began) > patience+time.Second || o.Text != "Error: "+ErrUnavailable.Error() || strings.Contains(o.Err.Error(), "http://") {
		t.Errorf("%q %v after %v", o.Text, o.Err, time.Since(began))
	}
	if st := b.Status()[0]; st.State == Ready || !strings.Contains(st.Error, "refused") {
		t.Errorf("%+v", st)
	}
}

// The operator's headers go with every request, the closing DELETE too, and nowhere else.
func TestHeaders(t *testing.T) {
	var elsewhere atomic.Int32
	other := httpServer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	s := &rpcServer{t: t}
	web := httpServer(t, s)
	cfg := at5("s", web.URL)
	cfg.Headers = map[string]string{"Authorization": "Bearer secret-token", "X-API-Key": "k", "Host": "mcp.internal"}
	b := begin(t, cfg)
	say(t, b, "s_go", "")
	stop(t, b)
	if saw := s.saw(); saw[len(saw)-1] != "DELETE" {
		t.Errorf("the session was not ended: %v", saw)
	}
	for i, h := range s.headers {
		if h.Get("Authorization") != "Bearer secret-token" || h.Get("X-Api-Key") != "k" {
			t.Errorf("%s went without its headers", s.saw()[i])
		}
	}
	s.hook = func(w http.ResponseWriter, r *http.Request, _ string, _ json.RawMessage) bool {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		return true
	}
	b = begin(t, cfg)
	if st := b.Status()[0]; !strings.Contains(st.Error, "HTTP 307 (redirects are not followed") || elsewhere.Load() != 0 {
		t.Errorf("%d requests followed the redirect: %+v", elsewhere.Load(), st)
	}
}

// What refuses the newest handshake is tried otherwise; what refuses us is not.
func TestFallback(t *testing.T) {
	for _, c := range []struct {
		status, tries int
		kind          string
	}{{401, 1, ""}, {403, 1, ""}, {429, 1, ""}, {500, 1, ""}, {404, 4, ""}, {405, 4, ""}, {404, 3, "http"}} {
		s := &rpcServer{t: t, hook: func(w http.ResponseWriter, r *http.Request, _ string, _ json.RawMessage) bool {
			http.Error(w, "no", c.status)
			return true
		}}
		cfg := at5("s", httpServer(t, s).URL)
		cfg.Type = c.kind
		o, _ := options(t)
		o.Backoff = func(int) time.Duration { return time.Hour }
		b := beginWith(t, o, cfg)
		if saw := s.saw(); len(saw) != c.tries {
			t.Errorf("%d: %v", c.status, saw)
		}
		if st := b.Status()[0]; st.Error != fmt.Sprintf("the MCP server answered HTTP %d", c.status) {
			t.Errorf("%d: %q", c.status, st.Error)
		}
	}
}

func TestHTTPFaults(t *testing.T) {
	answer := func(f func(w http.ResponseWriter, id json.RawMessage)) func(http.ResponseWriter, *http.Request, string, json.RawMessage) bool {
		return func(w http.ResponseWriter, _ *http.Request, method string, id json.RawMessage) bool {
			if method != "tools/call" {
				return false
			}
			f(w, id)
			return true
		}
	}
	huge := strings.Repeat("x", 64<<20)
	for name, c := range map[string]struct {
		hook func(http.ResponseWriter, *http.Request, string, json.RawMessage) bool
		want string
	}{
		"500 with JSON": {answer(func(w http.ResponseWriter, _ json.RawMessage) {
			w.WriteHeader(500)
			fmt.Fprint(w, `{"message":"internal: http://10.0.0.7/secret"}`)
		}), "Error: the MCP server answered HTTP 500"},
		"503 with text": {answer(func(w http.ResponseWriter, _ json.RawMessage) { http.Error(w, "busy", http.StatusServiceUnavailable) }), "Error: the MCP server answered HTTP 503"},
		"RPC error": {answer(func(w http.ResponseWriter, id json.RawMessage) {
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"wrong"}}`, id)
		}), "Error: wrong"},
		"huge, length known": {answer(func(w http.ResponseWriter, _ json.RawMessage) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", fmt.Sprint(len(huge)))
			_, _ = io.WriteString(w, huge)
		}), "Error: " + ErrLost.Error()},
		"huge, chunked": {answer(func(w http.ResponseWriter, id json.RawMessage) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"`, id)
			_, _ = io.WriteString(w, huge)
		}), "Error: " + ErrLost.Error()},
		"huge event": {answer(func(w http.ResponseWriter, _ json.RawMessage) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "data: %s", huge)
		}), "Error: " + ErrLost.Error()},
		"many events": {answer(func(w http.ResponseWriter, id json.RawMessage) {
			w.Header().Set("Content-Type", "text/event-stream")
			for range 10 { // together more than one answer may be
				fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"data\":\"%s\"}}\n\n", huge[:1<<20])
			}
			fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"at last\"}]}}\n\n", id)
		}), "at last"},
		"no type":      {answer(func(w http.ResponseWriter, _ json.RawMessage) { fmt.Fprint(w, "hello") }), "Error: " + ErrLost.Error()},
		"empty stream": {answer(func(w http.ResponseWriter, _ json.RawMessage) { w.Header().Set("Content-Type", "text/event-stream") }), "Error: " + ErrLost.Error()},
		"asks": {answer(func(w http.ResponseWriter, id json.RawMessage) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: {\"jsonrpc\":\"2.0\",\"id\":77,\"method\":\"sampling/createMessage\",\"params\":{}}\n\n")
			fmt.Fprint(w, "data: {\"jsonrpc\":\"2.0\",\"id\":78,\"method\":\"ping\"}\n\n")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(100 * time.Millisecond)
			fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"done\"}]}}\n\n", id)
		}), "done"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &rpcServer{t: t, hook: c.hook}
			var answers bytes.Buffer
			var mu sync.Mutex
			web := httpServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if bytes.Contains(body, []byte(`"id":7`)) {
					mu.Lock()
					answers.Write(body)
					mu.Unlock()
				}
				r.Body = io.NopCloser(bytes.NewReader(body))
				s.ServeHTTP(w, r)
			}))
			b := begin(t, at5("s", web.URL))
			began := time.Now()
			if o := run(t, b, "s_go", ""); o.Text != c.want || time.Since(began) > 10*time.Second {
				t.Errorf("%q %v after %v", o.Text, o.Err, time.Since(began))
			}
			s.hook = nil
			say(t, b, "s_go", "")
			if name == "asks" {
				mu.Lock()
				defer mu.Unlock()
				for _, want := range []string{`"id":77,"error":{"code":-32601`, `"id":78,"result":{}`} {
					if !strings.Contains(answers.String(), want) {
						t.Errorf("no %s in %s", want, answers.String())
					}
				}
			}
		})
	}
}

// A legacy server is told that nobody waits any more.
func TestHTTPCancelled(t *testing.T) {
	release := make(chan struct{})
	s := &rpcServer{t: t, hook: func(_ http.ResponseWriter, _ *http.Request, method string, _ json.RawMessage) bool {
		if method == "tools/call" {
			<-release
		}
		return false
	}}
	b := begin(t, at5("s", httpServer(t, s).URL))
	session(t, b, Request{Limits: Limits{CallTimeout: 50 * time.Millisecond}}).Run(t.Context(), []Call{{"", "s_go", ""}}, nil)
	eventually(t, "the server was told", func() bool { return slices.Contains(s.saw(), "POST notifications/cancelled") })
	close(release)
}

// The transport of 2024-11-05: requests of the server's own, a stream that ends, and an endpoint on another host.
func TestSSE(t *testing.T) {
	var streams atomic.Int32
	var mu sync.Mutex
	var posts []string
	out := make(chan string, 10)
	mux := http.NewServeMux()
	end := make(chan struct{}, 1)
	endpoint := "/post?s=1"
	mux.HandleFunc("GET /sse", func(w http.ResponseWriter, r *http.Request) {
		streams.Add(1)
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "event: endpoint\ndata: %s\n\n", endpoint)
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case m := <-out:
				fmt.Fprintf(w, "event: message\ndata: %s\n\n", m)
				_ = http.NewResponseController(w).Flush()
			case <-end:
				return
			case <-r.Context().Done():
				return
			}
		}
	})
	mux.HandleFunc("POST /post", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		posts = append(posts, string(body))
		mu.Unlock()
		var m fakeMessage
		_ = json.Unmarshal(body, &m)
		w.WriteHeader(http.StatusAccepted)
		switch m.Method {
		case "initialize":
			out <- fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2024-11-05","capabilities":{"tools":{}},"serverInfo":{"name":"old","version":"0"}}}`, m.ID)
		case "tools/list":
			out <- fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"go","inputSchema":{"type":"object"}},{"name":"die","inputSchema":{"type":"object"}}]}}`, m.ID)
		case "tools/call":
			if bytes.Contains(body, []byte(`"die"`)) {
				end <- struct{}{}
				return
			}
			// mcp-go 1.2.1 would take this request for the answer to ours of the same number.
			out <- fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"roots/list"}`, m.ID)
			out <- fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"went"}]}}`, m.ID)
		}
	})
	web := httptest.NewServer(mux)
	cfg := at5("s", web.URL+"/sse")
	cfg.Type = "sse"
	b := begin(t, cfg)
	if st := b.Status()[0]; st.Protocol != "2024-11-05" || st.Type != "sse" {
		t.Fatalf("%+v", st)
	}
	if got := say(t, b, "s_go", ""); got != "went" {
		t.Error(got)
	}
	eventually(t, "the request was answered", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.ContainsFunc(posts, func(p string) bool { return strings.Contains(p, `"error":{"code":-32601`) })
	})
	o := run(t, b, "s_die", "")
	if !errors.Is(o.Err, ErrLost) || o.Took > 2*time.Second {
		t.Errorf("%v after %v", o.Err, o.Took)
	}
	eventually(t, "connected again", func() bool { return b.Status()[0].State == Ready })
	say(t, b, "s_go", "")
	if streams.Load() != 2 {
		t.Errorf("%d streams", streams.Load())
	}
	stop(t, b)
	endpoint = "http://elsewhere.example/post"
	b = begin(t, cfg)
	if st := b.Status()[0]; st.State == Ready || !strings.Contains(st.Error, "another host") {
		t.Errorf("%+v", st)
	}
	stop(t, b)
	web.CloseClientConnections()
	web.Close()
}

func TestOpenCloseHTTP(t *testing.T) {
	web := httptest.NewServer(mcpserver.NewStreamableHTTPServer(realServer(), mcpserver.WithStateful(true)))
	cfg := at5("s", web.URL+"/mcp")
	stop(t, begin(t, cfg))
	time.Sleep(50 * time.Millisecond)
	fds := descriptors(t)
	for range 50 {
		b := begin(t, cfg)
		say(t, b, "s_echo", `{"text":"x"}`)
		stop(t, b)
	}
	eventually(t, "no descriptor more", func() bool { return descriptors(t) <= fds })
	web.Close()
}
