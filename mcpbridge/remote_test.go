//go:build unix

package mcpbridge

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap/zaptest/observer"
)

// remoteBridge allows clients the hosts given, and lets them reach this machine, whose certificate it believes.
func remoteBridge(t testing.TB, hosts ...string) (*Bridge, *observer.ObservedLogs) {
	o, logs := options(t)
	o.ClientHosts = hosts
	b := beginWith(t, o, fake("own"))
	b.remotes.allowed = func(netip.Addr) bool { return true }
	b.remotes.tls = &tls.Config{InsecureSkipVerify: true}
	return b, logs
}

func tlsServer(t testing.TB, h http.Handler) (server *httptest.Server, host string) {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return s, u.Host
}

func remoteSession(b *Bridge, owner string, r ...Remote) (*Session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return b.Session(ctx, Request{Owner: owner, Remote: r})
}

// Test 20: what a client may name, and what it may send there.
func TestRemoteRefused(t *testing.T) {
	b, _ := remoteBridge(t, "mcp.example.com", "*.wild.example", "port.example:8443")
	off, _ := New(new(Config), Options{})
	many := map[string]string{}
	for i := range 17 {
		many[fmt.Sprint("H", i)] = "v"
	}
	ok := Remote{Label: "l", URL: "https://mcp.example.com/x"}
	for want, change := range map[string]func(*Remote){
		"server_label must be":             func(r *Remote) { r.Label = "a b" },
		"one of the gateway's own":         func(r *Remote) { r.Label = "OWN" },
		"no URL":                           func(r *Remote) { r.URL = "https://u:p@mcp.example.com" },
		"must begin with https":            func(r *Remote) { r.URL = "http://mcp.example.com" },
		"is not allowed here":              func(r *Remote) { r.URL = "https://evil.example.com/?mcp.example.com" },
		"the host of server_url is not":    func(r *Remote) { r.URL = "https://wild.example" },
		"of server_url is not allowed":     func(r *Remote) { r.URL = "https://port.example" },
		"server_url is not allowed":        func(r *Remote) { r.URL = "https://mcp.example.com:22" },
		"at most 16 headers":               func(r *Remote) { r.Headers = many },
		"larger than 4096":                 func(r *Remote) { r.Headers = map[string]string{"A": strings.Repeat("x", 5000)} },
		`header "host" is not allowed`:     func(r *Remote) { r.Headers = map[string]string{"host": "x"} },
		`header "Cookie" is not allowed`:   func(r *Remote) { r.Headers = map[string]string{"Cookie": "x"} },
		`header "mcp-x" is not allowed`:    func(r *Remote) { r.Headers = map[string]string{"mcp-x": "x"} },
		"has both authorization":           func(r *Remote) { r.Authorization, r.Headers = "a", map[string]string{"authorization": "b"} },
		"its headers are not allowed":      func(r *Remote) { r.Authorization = "a\r\nX: y" },
		"its headers are not":              func(r *Remote) { r.Headers = map[string]string{"transfer-encoding": "chunked"} },
		"the host of server_url is":        func(r *Remote) { r.URL = "https://127.0.0.1" },
		"the host of server_url":           func(r *Remote) { r.URL = "https://169.254.169.254/latest" },
		"server_label must be 1":           func(r *Remote) { r.Label = "" },
		"server_url is no URL of a server": func(r *Remote) { r.URL = "mcp.example.com" },
	} {
		r := ok
		change(&r)
		_, err := remoteSession(b, "", r)
		var e *RemoteError
		if !errors.As(err, &e) || !e.Refused || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, not %q", r, err, want)
		}
	}
	if _, err := off.remotes.check(ok); err == nil || !strings.Contains(err.Error(), "switched off") {
		t.Error(err)
	}
	for _, u := range []string{"https://a.wild.example", "https://a.b.wild.example/x", "https://port.example:8443", "https://MCP.example.com.:443"} {
		if _, err := b.remotes.check(Remote{Label: "l", URL: u}); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
	if _, err := remoteSession(b, "", ok, ok, ok, ok, ok); err == nil || !strings.Contains(err.Error(), "at most 4 servers") {
		t.Error(err)
	}
	if len(b.remotes.open) != 0 {
		t.Errorf("%d connections were opened", len(b.remotes.open))
	}
}

func TestPublic(t *testing.T) {
	for _, a := range []string{"0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.8.8.8", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"192.0.0.192", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1",
		"64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2001::1", "2001:db8::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1"} {
		if isPublic(netip.MustParseAddr(a)) {
			t.Errorf("%s is public", a)
		}
	}
	for _, a := range []string{"1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450:4001::200e", "::ffff:8.8.8.8"} {
		if !isPublic(netip.MustParseAddr(a)) {
			t.Errorf("%s is not public", a)
		}
	}
}

// A name that is allowed and leads to this machine: the address dialled is what counts.
func TestRebinding(t *testing.T) {
	var reached atomic.Int32
	_, host := tlsServer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	_, port := splitPort(host)
	b, _ := remoteBridge(t, "localhost:"+port, host)
	b.remotes.allowed = isPublic
	t.Setenv("HTTPS_PROXY", "http://"+host) // which must not be asked
	for _, h := range []string{"localhost:" + port, host} {
		_, err := remoteSession(b, "", Remote{Label: "l", URL: "https://" + h})
		var e *RemoteError
		if !errors.As(err, &e) || !e.Refused || !errors.Is(err, errNotPublic) || reached.Load() != 0 {
			t.Errorf("%s: %v, reached %d", h, err, reached.Load())
		}
	}
}

func TestRemote(t *testing.T) {
	s := &rpcServer{t: t}
	_, host := tlsServer(t, s)
	b, logs := remoteBridge(t, host)
	r := Remote{Label: "docs", URL: "https://" + host + "/mcp", Authorization: "tok-abcdefgh", Headers: map[string]string{"X-Team": "blue-secret"}}
	one, err := remoteSession(b, "key1", r)
	if err != nil {
		t.Fatal(err)
	}
	if !one.Owns("docs_go") || !one.Owns("own_echo") {
		t.Errorf("%+v", one.Tools())
	}
	o := one.Run(t.Context(), []Call{{"", "docs_go", ""}}, nil)[0]
	if o.Text != "went" || !o.Tool.Remote || o.Tool.Server != "docs" {
		t.Errorf("%+v", o)
	}
	connections := func() (n int) {
		for _, m := range s.saw() {
			if m == "POST initialize" {
				n++
			}
		}
		return n
	}
	two, err := remoteSession(b, "key1", r)
	if err != nil || connections() != 1 {
		t.Errorf("%d connections for one owner: %v", connections(), err)
	}
	other, err := remoteSession(b, "key2", r)
	if err != nil || connections() != 2 {
		t.Errorf("%d connections for two owners: %v", connections(), err)
	}
	r.Tools = []string{"nothing"}
	none, err := remoteSession(b, "key1", r)
	if err != nil || none.Owns("docs_go") {
		t.Errorf("%v %v", none, err)
	}
	r.Tools, r.ReadOnly = nil, true
	readonly, err := remoteSession(b, "key1", r)
	if err != nil || readonly.Owns("docs_go") {
		t.Errorf("%v %v", readonly, err)
	}
	for _, h := range s.headers {
		if h.Get("Authorization") != "Bearer tok-abcdefgh" || h.Get("X-Team") != "blue-secret" {
			t.Errorf("%v", h)
		}
	}
	for _, e := range logs.All() {
		if text := fmt.Sprint(e.Message, e.ContextMap()); strings.Contains(text, "tok-abcdefgh") || strings.Contains(text, "blue-secret") {
			t.Errorf("logged: %s", text)
		}
	}
	for _, sess := range []*Session{one, two, other, none, readonly} {
		sess.Close()
		sess.Close()
	}
	if len(b.Status()) != 1 {
		t.Error("what clients have named is in the status")
	}
	stop(t, b)
	if saw := s.saw(); saw[len(saw)-1] != "DELETE" {
		t.Errorf("%v", saw)
	}
}

// A connection that nobody uses ends after a minute.
func TestRemoteIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := New(new(Config), Options{ClientHosts: []string{"h"}})
		if err != nil {
			t.Fatal(err)
		}
		b.remotes.allowed = func(netip.Addr) bool { return false }
		cfg, err := b.remotes.check(Remote{Label: "l", URL: "https://h"})
		if err != nil {
			t.Fatal(err)
		}
		key := sha256.Sum256([]byte("k"))
		one := &remote{Server: newServer(cfg, &Options{Backoff: func(int) time.Duration { return time.Hour }}, b.dialer)}
		one.dial = func(context.Context) (*conn, []jsontext.Value, error) { return nil, nil, errors.New("never") }
		one.start()
		b.remotes.open[key] = one
		for range 3 {
			if got, err := b.remotes.take(key, "", cfg); err != nil || got != one {
				t.Fatal(got, err)
			}
			b.remotes.give(key, one)
			time.Sleep(remoteIdle / 2)
		}
		if one.status().State == Stopped {
			t.Error("ended though it was used half a minute ago")
		}
		time.Sleep(remoteIdle)
		synctest.Wait()
		if one.status().State != Stopped || len(b.remotes.open) != 0 {
			t.Errorf("%s, %d open", one.status().State, len(b.remotes.open))
		}
	})
}

func TestRemoteFaults(t *testing.T) {
	hook := func(f func(w http.ResponseWriter, method string, id json.RawMessage) bool) *rpcServer {
		return &rpcServer{t: t, hook: func(w http.ResponseWriter, _ *http.Request, method string, id json.RawMessage) bool {
			return f(w, method, id)
		}}
	}
	tools := func(n, size int) *rpcServer {
		return hook(func(w http.ResponseWriter, method string, id json.RawMessage) bool {
			if method != "tools/list" {
				return false
			}
			var list []string
			for i := range n {
				list = append(list, tool(fmt.Sprint("t", i), `{"type":"object","x":"`+strings.Repeat("x", size)+`"}`))
			}
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"tools":[%s]}}`, id, strings.Join(list, ","))
			return true
		})
	}
	_, elsewhere := tlsServer(t, &rpcServer{t: t})
	for name, c := range map[string]struct {
		server *rpcServer
		want   string
	}{
		"401":           {hook(func(w http.ResponseWriter, _ string, _ json.RawMessage) bool { w.WriteHeader(401); return true }), "HTTP 401"},
		"many tools":    {tools(129, 1), "has 129 tools"},
		"large schemas": {tools(3, 100<<10), "tools in"},
		"redirect": {hook(func(w http.ResponseWriter, _ string, _ json.RawMessage) bool {
			w.Header().Set("Location", "https://"+elsewhere)
			w.WriteHeader(307)
			return true
		}), "HTTP 307"},
	} {
		_, host := tlsServer(t, c.server)
		b, _ := remoteBridge(t, host)
		_, err := remoteSession(b, "", Remote{Label: "l", URL: "https://" + host})
		var e *RemoteError
		if !errors.As(err, &e) || e.Refused || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		// What failed is forgotten: the next request tries anew.
		if len(b.remotes.open) != 0 {
			t.Errorf("%s: %d connections are kept", name, len(b.remotes.open))
		}
	}
}
