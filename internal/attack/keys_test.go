//go:build attack && linux

package attack

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strings"
	"testing"
)

// withoutToken is a gateway with keys, and nothing said of who may make them.
const withoutToken = `chat2response {UP} {
	mode chat
	api_key ` + operatorKey + `
	keys memory
}`

const generate = `{"scopes":["admin:keys"]}`

func generateBy(version, host string, headers ...string) string {
	s := "POST /keys/generate " + version + "\r\nHost: " + host + "\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " + fmt.Sprint(len(generate)) + "\r\n"
	for _, h := range headers {
		s += h + "\r\n"
	}
	return s + "\r\n" + generate
}

// H8: keys are made without a token by a program that somebody has started on this machine, and by nothing that speaks
// for somebody else: a proxy, whatever it sends, a forwarder, a web page, or any program that listens itself.
func TestGenerateWithoutToken(t *testing.T) {
	g := begin(t, withoutToken)
	refused := func(name string, a reply) {
		t.Helper()
		if a.status/100 == 2 || strings.Contains(a.body, "sk_") {
			t.Errorf("%s: %d %.100s", name, a.status, a.body)
		}
	}
	_, port, _ := net.SplitHostPort(g.addr)
	hosts := []string{"localhost:" + port, g.addr, "localhost", "[::1]", "127.0.0.1"}
	// The test process listens on ports of its own, as a proxy does.
	for _, host := range hosts {
		refused("a program that listens, Host "+host, g.raw(generateBy("HTTP/1.1", host)))
		refused("HTTP/1.0, Host "+host, g.raw(generateBy("HTTP/1.0", host)))
	}
	for _, h := range []string{"Forwarded: for=1.2.3.4", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Host: x", "X-Forwarded-Proto: https", "X-Forwarded-Port: 1", "X-Forwarded-Server: x", "X-Real-IP: 1.2.3.4",
		"Via: 1.1 x", "CF-Connecting-IP: 1.2.3.4", "True-Client-IP: 1.2.3.4", "X-Client-IP: 1.2.3.4", "X-Cluster-Client-IP: 1.2.3.4", "Fastly-Client-IP: 1.2.3.4", "X-Original-URL: /", "X-Envoy-External-Address: 1.2.3.4",
		"Fly-Client-IP: 1.2.3.4", "X-Azure-ClientIP: 1.2.3.4", "X-Amzn-Trace-Id: x", "X-Request-Start: 1", "X-ProxyUser-Ip: 1.2.3.4", "X-Original-Host: x", "Origin: https://evil.example", "Sec-Fetch-Site: cross-site", "Origin: null"} {
		refused(h, g.raw(generateBy("HTTP/1.1", "localhost:"+port, h)))
		refused("curl with "+h, curl(t, g, "-H", h))
	}
	refused("curl by HTTP/1.0", curl(t, g, "--http1.0"))
	refused("curl with another Host", curl(t, g, "-H", "Host: rebound.example"))

	// A TCP forwarder and a reverse proxy, in this process.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				up, err := g.dial()
				if err != nil {
					return
				}
				defer up.Close()
				go func() { _, _ = io.Copy(up, c) }()
				_, _ = io.Copy(c, up)
			}()
		}
	}()
	through := &gateway{t: t, addr: l.Addr().String(), cmd: g.cmd, log: g.log}
	refused("a TCP forwarder", through.raw(generateBy("HTTP/1.1", "localhost")))
	refused("curl through a TCP forwarder", curl(t, through))
	target, _ := url.Parse("http://" + g.addr)
	for name, rewrite := range map[string]func(*httputil.ProxyRequest){
		"a reverse proxy":                     func(p *httputil.ProxyRequest) { p.SetURL(target); p.SetXForwarded() },
		"a reverse proxy that says nothing":   func(p *httputil.ProxyRequest) { p.SetURL(target) },
		"a reverse proxy that keeps the Host": func(p *httputil.ProxyRequest) { p.SetURL(target); p.Out.Host = "localhost" },
	} {
		proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: rewrite})
		through := &gateway{t: t, addr: strings.TrimPrefix(proxy.URL, "http://"), cmd: g.cmd, log: g.log}
		refused(name, through.raw(generateBy("HTTP/1.1", "localhost")))
		refused("curl through "+name, curl(t, through))
		proxy.Close()
	}

	if a := curl(t, g); a.status != http.StatusOK && a.status != http.StatusCreated || !strings.Contains(a.body, "sk_") {
		t.Errorf("curl on this machine, which docs/keys.md promises to work: %d %.200s", a.status, a.body)
	}
}

// curl is a program of this user that listens nowhere.
func curl(t *testing.T, g *gateway, more ...string) reply {
	t.Helper()
	path, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("no curl here")
	}
	_, port, _ := net.SplitHostPort(g.addr)
	args := append([]string{"-s", "-m", "20", "-w", "\n%{http_code}", "-H", "Content-Type: application/json", "-d", generate}, more...)
	out, err := exec.Command(path, append(args, "http://127.0.0.1:"+port+"/keys/generate")...).Output()
	if err != nil {
		return reply{}
	}
	i := strings.LastIndexByte(string(out), '\n')
	var status int
	_, _ = fmt.Sscan(string(out[i+1:]), &status)
	return reply{status: status, body: string(out[:i])}
}

// H11: a key reaches the model's endpoints. The account's are another matter, which a scope opens.
func TestAccount(t *testing.T) {
	g := begin(t, managed)
	plain, files := g.mint(`{"label":"plain"}`), g.mint(`{"label":"files","scopes":["endpoint:files","endpoint:chat"]}`)
	type want struct {
		method, path string
		open         bool // to a key without scopes
	}
	for _, w := range []want{
		{"POST", "/v1/chat/completions", true}, {"POST", "/v1/completions", true}, {"POST", "/v1/embeddings", true}, {"POST", "/v1/moderations", true},
		{"POST", "/v1/images/generations", true}, {"POST", "/v1/audio/speech", true}, {"POST", "/v1/rerank", true}, {"POST", "/v1/tokenize", true}, {"GET", "/v1/models", true}, {"GET", "/v1/models/m", true},
		{"GET", "/v1/files", false}, {"DELETE", "/v1/files/file-1", false}, {"GET", "/v1/files/file-1/content", false}, {"POST", "/v1/batches", false}, {"GET", "/v1/batches", false},
		{"DELETE", "/v1/models/ft:mine", false}, {"GET", "/v1/fine_tuning/jobs", false}, {"GET", "/v1/organization/admin_api_keys", false}, {"POST", "/v1/organization/users", false},
		{"GET", "/v1/realtime?model=m", false}, {"POST", "/v1/realtime/client_secrets", false}, {"POST", "/v1/threads/runs", false}, {"POST", "/v1/evals/e/runs", false}, {"GET", "/v1/vector_stores", false},
		{"GET", "/v1/containers", false}, {"POST", "/v1/uploads", false}, {"GET", "/v1/never_heard_of", false}, {"GET", "/files", false}, {"GET", "/batches", false},
	} {
		body := ""
		if w.method == "POST" {
			body = `{"model":"m","messages":[{"role":"user","content":"x"}],"input":"x","prompt":"x"}`
		}
		g.up.take()
		a := g.must(w.method, w.path, body, bearer(plain)...)
		reached := len(g.up.take()) > 0
		if reached != w.open || !w.open && a.status != http.StatusForbidden {
			t.Errorf("%s %s: %d, reached the upstream: %v", w.method, w.path, a.status, reached)
		}
	}
	for path, open := range map[string]bool{"/v1/files": true, "/v1/files/file-1/content": true, "/v1/batches": false, "/v1/organization/users": false} {
		g.up.take()
		a := g.must("GET", path, "", bearer(files)...)
		if reached := len(g.up.take()) > 0; reached != open {
			t.Errorf("with endpoint:files, %s: %d, reached the upstream: %v", path, a.status, reached)
		}
	}
}

// M1: a key with a list of models reaches nothing of which the model was not read.
func TestModelList(t *testing.T) {
	g := begin(t, managed)
	for _, key := range []string{g.mint(`{"models":["allowed"]}`), g.mint(`{"models":["allowed"],"scopes":["endpoint:*"]}`),
		g.mint(`{"models":["allowed"],"scopes":["endpoint:chat","endpoint:embeddings","endpoint:realtime","endpoint:batches","endpoint:threads","endpoint:evals","endpoint:audio"]}`)} {
		modelList(t, g, key)
	}
}

func modelList(t *testing.T, g *gateway, key string) {
	t.Helper()
	if a := g.must("POST", "/v1/chat/completions", strings.Replace(hello, `"m"`, `"allowed"`, 1), bearer(key)...); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	g.up.take()
	body := `{"model":"forbidden","messages":[{"role":"user","content":"x"}],"input":"x"}`
	multipart := "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nforbidden\r\n--b--\r\n"
	for name, r := range map[string][]string{
		"realtime":          {"GET", "/v1/realtime?model=forbidden", "", "Upgrade", "websocket", "Connection", "Upgrade"},
		"multipart by PUT":  {"PUT", "/v1/audio/transcriptions", multipart, "Content-Type", "multipart/form-data; boundary=b"},
		"multipart by POST": {"POST", "/v1/audio/transcriptions", multipart, "Content-Type", "multipart/form-data; boundary=b"},
		"batches":           {"POST", "/v1/batches", `{"input_file_id":"f","endpoint":"/v1/chat/completions"}`},
		"threads":           {"POST", "/v1/threads/runs", `{"assistant_id":"a"}`},
		"evals":             {"POST", "/v1/evals/e/runs", `{"data_source":{"model":"forbidden"}}`},
		"client_secrets":    {"POST", "/v1/realtime/client_secrets", `{"session":{"model":"forbidden"}}`},
		"PUT":               {"PUT", "/v1/chat/completions", body},
		"PATCH":             {"PATCH", "/v1/embeddings", body},
		"DELETE":            {"DELETE", "/v1/embeddings", body},
		"GET with a body":   {"GET", "/v1/embeddings", body},
		"plain":             {"POST", "/v1/embeddings", body},
		"twice":             {"POST", "/v1/embeddings", `{"model":"allowed","model":"forbidden","input":"x"}`},
		"text/plain":        {"POST", "/v1/embeddings", body, "Content-Type", "text/plain"},
		"odd case":          {"POST", "/v1/embeddings", `{"Model":"forbidden","model":"allowed","input":"x"}`},
	} {
		a := g.must(r[0], r[1], r[2], append(bearer(key), r[3:]...)...)
		for _, s := range g.up.take() {
			if name == "odd case" && strings.Contains(string(s.body), `"model":"allowed"`) {
				continue // a name in another case is another member
			}
			t.Errorf("%s: %d, %s %s reached the upstream", name, a.status, s.method, s.uri)
		}
	}
}
