package chat2response

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// asClient makes the test's program a client that asks for a URL and prints the status: a process of its own, that
// does not listen.
const asClient = "CHAT2RESPONSE_TEST_CLIENT"

// asTunnel is the address that such a client is connected to besides.
const asTunnel = "CHAT2RESPONSE_TEST_TUNNEL"

func beClient(address string) {
	if far := os.Getenv(asTunnel); far != "" {
		if _, err := net.Dial("tcp", far); err != nil {
			println(err.Error())
			os.Exit(1)
		}
	}
	resp, err := http.Post(address, "application/json", strings.NewReader("{}"))
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
	io.WriteString(os.Stdout, resp.Status[:3])
	os.Exit(0)
}

// askAsProgram makes a key at a URL from a process of its own, whose program has a name.
func askAsProgram(t *testing.T, name, address string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(os.Args[0], program); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), asClient+"="+address)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// realPeers has processes looked at as they are outside of tests.
func realPeers(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the process at the other end of a connection is known on Linux only")
	}
	before := clientProcess
	clientProcess = isClientProcess
	t.Cleanup(func() { clientProcess = before })
}

// H8: keys are made without a token only by a program that talks to the gateway itself. What forwards requests from
// elsewhere listens for them, and is known by that, whatever headers it sends.
func TestKeysThroughForwarders(t *testing.T) {
	realPeers(t)
	g, _ := keyed(t, "memory")
	if got := askAsProgram(t, "client", g.url+"/keys/generate"); got != "200" {
		t.Errorf("a program of this machine: %s", got)
	}
	if got := askAsProgram(t, filepath.Base(os.Args[0]), g.url+"/keys/generate"); got != "403" {
		t.Errorf("a server's child: %s", got)
	}
	tcp := forwarder(t, g.addr)
	site, _ := url.Parse(g.url)
	proxy := upstream(t, (&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { // as nginx in its simplest form
		r.SetURL(site)
		r.Out.Host = site.Host
	}}).ServeHTTP)
	for name, address := range map[string]string{"a TCP forwarder": tcp, "a proxy": proxy} {
		_, port, _ := net.SplitHostPort(address)
		if got := askAsProgram(t, "client", "http://localhost:"+port+"/keys/generate"); got != "403" {
			t.Errorf("through %s: %s", name, got)
		}
	}
	t.Setenv(asTunnel, upstream(t, func(http.ResponseWriter, *http.Request) {}))
	if got := askAsProgram(t, "client", g.url+"/keys/generate"); got != "403" {
		t.Errorf("a tunnel that dials out: %s", got)
	}
	// The gateway's own process serves other sites, which may lead here.
	if a := g.post("/keys/generate", "{}"); a.status != http.StatusForbidden || a.openAIError(t).code() != "admin_token_required" {
		t.Errorf("from the gateway's own process: %d %s", a.status, a.body)
	}
}

// forwarder passes connections on, byte by byte.
func forwarder(t *testing.T, to string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			context.AfterFunc(ctx, func() { in.Close(); out.Close() })
			go func() { io.Copy(out, in); out.Close() }()
			go func() { io.Copy(in, out); in.Close() }()
		}
	}()
	return l.Addr().String()
}

// H8: nginx speaks HTTP/1.0 to its upstreams, and names them as the host.
func TestKeysOldProtocol(t *testing.T) {
	g, _ := keyed(t, "memory")
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST /keys/generate HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	answer, _ := io.ReadAll(conn)
	if !strings.Contains(string(answer), " 403 ") {
		t.Errorf("%s", answer)
	}
}

// H8: what a proxy or a network of servers adds to a request keeps it from being local.
func TestProxyHeaders(t *testing.T) {
	g, _ := keyed(t, "memory")
	for _, name := range []string{
		"CF-Connecting-IP", "CF-Ray", "True-Client-IP", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Forwarded-By",
		"X-Client-IP", "X-Cluster-Client-IP", "X-Original-Forwarded-For", "X-Original-Host", "Fastly-Client-IP", "Fly-Client-IP",
		"X-ProxyUser-Ip", "X-Envoy-External-Address", "X-Real-IP", "Forwarded", "Via", "X-Amzn-Trace-Id", "X-Azure-ClientIP", "Tailscale-User-Login",
	} {
		if a := g.post("/keys/generate", "{}", name, "203.0.113.7"); a.status != http.StatusForbidden {
			t.Errorf("%s: %d", name, a.status)
		}
	}
}
