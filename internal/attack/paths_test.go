//go:build attack && linux

package attack

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// known are paths of the API, as clients write them.
var known = []string{"/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/models", "/v1/completions", "/chat/completions", "/responses",
	"/v1/responses/resp_1", "/v1/conversations/conv_1/items", "/v1/files", "/v1/files/file-1/content", "/proxy"}

// odd are the ways in which a path can be another's without being it.
var odd = []func(r *rand.Rand, p string) string{
	func(r *rand.Rand, p string) string { return insert(r, p, "/") },
	func(r *rand.Rand, p string) string { return insert(r, p, "/.") },
	func(r *rand.Rand, p string) string { return insert(r, p, "/x/..") },
	func(r *rand.Rand, p string) string { return insert(r, p, "/%2e") },
	func(r *rand.Rand, p string) string { return insert(r, p, "/x/%2e%2E") },
	func(r *rand.Rand, p string) string { return insert(r, p, "/x/.%2e") },
	func(r *rand.Rand, p string) string { return replaceAt(r, p, "/", "%2f") },
	func(r *rand.Rand, p string) string { return replaceAt(r, p, "/", "%2F") },
	func(r *rand.Rand, p string) string { return replaceAt(r, p, "/", `\`) },
	func(r *rand.Rand, p string) string { return replaceAt(r, p, "/", "%5c") },
	func(r *rand.Rand, p string) string { return upper(r, p) },
	func(r *rand.Rand, p string) string { return insert(r, p, "/..;") },
	func(r *rand.Rand, p string) string { return p + "/../files" },
	func(r *rand.Rand, p string) string { return p + "/%2e%2e/files" },
	func(r *rand.Rand, p string) string { return p + "/%252e%252e/files" },
	func(r *rand.Rand, p string) string { return p + "%00" },
	func(r *rand.Rand, p string) string { return "/v1/x/../../api/chat" },
}

func insert(r *rand.Rand, p, what string) string {
	at := slices.DeleteFunc(indexes(p, "/"), func(int) bool { return false })
	i := at[r.IntN(len(at))]
	return p[:i] + what + p[i:]
}

func replaceAt(r *rand.Rand, p, old, new string) string {
	at := indexes(p, old)[1:] // a target begins with a slash
	if len(at) == 0 {
		return p + new + "x"
	}
	i := at[r.IntN(len(at))]
	return p[:i] + new + p[i+len(old):]
}

func indexes(p, what string) (at []int) {
	for i := range p {
		if strings.HasPrefix(p[i:], what) {
			at = append(at, i)
		}
	}
	return at
}

func upper(r *rand.Rand, p string) string {
	b := []byte(p)
	for {
		if i := r.IntN(len(b)); b[i] >= 'a' && b[i] <= 'z' {
			b[i] -= 'a' - 'A'
			return string(b)
		}
	}
}

// suspect reports whether no upstream may see a target: it is not the only way to write its path. Upper case counts in
// what the API itself names; an id, which is the part that a client chooses, may have it.
func suspect(target string) bool {
	path, _, _ := strings.Cut(target, "?")
	lower := strings.ToLower(path)
	return strings.Contains(path, "//") || strings.ContainsAny(path, `\;`) || strings.Contains(lower, "%2e") || strings.Contains(lower, "%2f") ||
		strings.Contains(lower, "%5c") || strings.Contains(lower, "%25") || strings.Contains(lower, "%00") ||
		slices.ContainsFunc(strings.Split(path, "/"), func(s string) bool { return s == "." || s == ".." }) || path != lower
}

func get(method, target, key string) string {
	s := method + " " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
	if key != "" {
		s += "Authorization: Bearer " + key + "\r\n"
	}
	if method != "GET" {
		s += "Content-Type: application/json\r\nContent-Length: " + fmt.Sprint(len(hello)) + "\r\n\r\n" + hello
		return s
	}
	return s + "\r\n"
}

// M7, H9: a path has one way to be written; every other is 404, with a key and without one, and reaches no upstream:
// neither that of the gateway nor the next handler.
func TestPaths(t *testing.T) {
	for name, site := range map[string]string{
		"upstream": managed,
		"sealed":   strings.Replace(managed, "mode chat\n\tdialect vllm", "mode responses", 1),
		"next":     "chat2response {\n keys memory {\n admin_token " + adminToken + "\n }\n }\n reverse_proxy {UP} {\n header_up Authorization \"Bearer " + operatorKey + "\"\n }",
	} {
		t.Run(name, func(t *testing.T) {
			g, err := try(t, site)
			if err != nil && name == "next" {
				t.Logf("the configuration is refused: %v", err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			good := g.mint(`{}`)
			r := random(t)
			targets := []string{"/V1/chat/completions", "//v1/chat/completions", "/v1/x/../chat/completions", "/api/chat", "/v2/x", "/v1//responses/resp_1", "/v1/./responses/resp_1", "/v1/Responses/resp_1"}
			for range 400 {
				p := known[r.IntN(len(known))]
				for range 1 + r.IntN(2) {
					p = odd[r.IntN(len(odd))](r, p)
				}
				targets = append(targets, p)
			}
			for _, target := range targets {
				for _, key := range []string{"", good} {
					for _, method := range []string{"GET", "POST"} {
						a := g.raw(get(method, target, key))
						got := g.up.take()
						outside := target == "/api/chat" || target == "/v2/x"
						switch {
						case len(got) > 0 && key == "":
							t.Errorf("%s %s without a key reaches the upstream as %s", method, target, got[0].uri)
						case len(got) > 0 && (suspect(target) || outside):
							t.Errorf("%s %s reaches the upstream as %s", method, target, got[0].uri)
						case a.status/100 == 2:
							// Behind an upstream of its own, what is not the API's is the next handler's.
							if suspect(target) || outside && name == "next" {
								t.Errorf("%s %s: %d", method, target, a.status)
							}
						case a.status >= 500:
							t.Errorf("%s %s: %d %.200s", method, target, a.status, a.body)
						}
					}
				}
				if t.Failed() && len(targets) > 100 && r.IntN(20) == 0 {
					break // enough is said
				}
			}
			g.alive()
		})
	}
}

// Without a good key nothing reaches the upstream, in whatever header, method and framing it comes.
func TestWithoutAKey(t *testing.T) {
	g := begin(t, managed)
	good := g.mint(`{}`)
	stop := g.canary(good)
	r := random(t)
	names := []string{"Authorization", "authorization", "X-Api-Key", "Api-Key", "Proxy-Authorization", "Cookie", "X-Goog-Api-Key", "Authorization ", "X-Original-Url", "X-Rewrite-Url", "X-Forwarded-For", "X-Real-Ip", "Connection", "Host", "Transfer-Encoding", "Upgrade"}
	values := []string{"Bearer", "Bearer ", "Bearer sk_", "bearer null", "Bearer " + operatorKey, "Basic " + good[:10], "Bearer " + good[:len(good)-1], "Bearer " + good + "x", "Bearer " + strings.ToUpper(good),
		"Bearer a, Bearer b", "undefined", "/v1/chat/completions", "127.0.0.1", "Authorization", "websocket", "chunked", strings.Repeat("a", 3000), "Bearer \x00", "Bearer " + adminToken}
	strange := strings.Replace(hello, "hello", "stranger", 1)
	methods := []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PRI", "post", "CONNECT", "PROPFIND"}
	for i := range 1000 {
		path := known[r.IntN(len(known))]
		if r.IntN(2) == 0 {
			path = odd[r.IntN(len(odd))](r, path)
		}
		if r.IntN(3) == 0 {
			path += "?api_key=" + operatorKey + "&model=m"
		}
		var b bytes.Buffer
		fmt.Fprintf(&b, "%s %s HTTP/1.%d\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", methods[r.IntN(len(methods))], path, r.IntN(2), len(strange))
		for range r.IntN(5) {
			fmt.Fprintf(&b, "%s: %s\r\n", names[r.IntN(len(names))], values[r.IntN(len(values))])
		}
		b.WriteString("Connection: close\r\n\r\n" + strange)
		a := g.rawWithin(time.Second, b.String())
		if strings.Contains(a.body, operatorKey) && !strings.Contains(b.String(), operatorKey) {
			t.Errorf("the operator's key is in the answer to %q", b.String())
		}
		if strings.Contains(a.body, answerText) {
			t.Errorf("answered from the upstream without a key: %q", b.String())
		}
		if i%100 == 0 {
			g.alive()
		}
	}
	stop()
	for _, s := range g.up.take() {
		if s.method != "POST" || s.uri != "/v1/chat/completions" || bytes.Contains(s.body, []byte("stranger")) {
			t.Errorf("%s %s reached the upstream", s.method, s.uri)
		}
	}
}

// HTTP/2 by frames, orderly and not: nothing reaches the upstream without a key, and the good key is served.
func TestFrames(t *testing.T) {
	g := begin(t, managed)
	good := g.mint(`{}`)
	stop := g.canary(good)
	r := random(t)
	for range 60 {
		c, err := g.dial()
		if err != nil {
			g.alive()
			t.Fatal(err)
		}
		frames(c, r)
		c.Close()
	}
	stop()
	g.alive()
	for _, s := range g.up.take() {
		if s.uri != "/v1/chat/completions" || !bytes.Contains(s.body, []byte(`"hello"`)) {
			t.Errorf("%s %s %.100s reached the upstream", s.method, s.uri, s.body)
		}
	}
}

// frames speaks some HTTP/2 that no client would.
func frames(c net.Conn, r *rand.Rand) {
	_ = c.SetDeadline(time.Now().Add(3 * time.Second))
	_, _ = c.Write([]byte(http2.ClientPreface))
	f := http2.NewFramer(c, c)
	_ = f.WriteSettings()
	go func() { // what comes is read, so that nobody waits for us
		buffer := make([]byte, 32<<10)
		for {
			if _, err := c.Read(buffer); err != nil {
				return
			}
		}
	}()
	fields := [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "x"}, {":path", "/v1/chat/completions"}, {"content-type", "application/json"},
		{":path", "/v1/files"}, {":method", "GET"}, {"Authorization", "Bearer x"}, {"authorization", "Bearer " + operatorKey}, {":protocol", "websocket"}, {":method", "CONNECT"},
		{"connection", "authorization"}, {"transfer-encoding", "chunked"}, {"content-length", "5"}, {"content-length", "0"}, {"x", "a\r\nauthorization: b"}, {":path", "//v1/files"}, {":path", "*"}, {"host", "y"}, {"te", "gzip"}}
	for stream := uint32(1); stream < 61; stream += 2 {
		var block bytes.Buffer
		enc := hpack.NewEncoder(&block)
		order := r.Perm(len(fields))[:3+r.IntN(len(fields)-3)]
		if r.IntN(2) == 0 {
			order = append([]int{0, 1, 2, 3, 4}, order[:r.IntN(3)]...)
		}
		for _, i := range order {
			_ = enc.WriteField(hpack.HeaderField{Name: fields[i][0], Value: fields[i][1]})
		}
		b := block.Bytes()
		half := r.IntN(len(b) + 1)
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: b[:half], EndStream: r.IntN(4) == 0, EndHeaders: half == len(b)}); err != nil {
			return
		}
		if half < len(b) {
			_ = f.WriteContinuation(stream, true, b[half:])
		}
		switch r.IntN(7) {
		case 0:
			_ = f.WriteData(stream, true, []byte(`{"model":"m","messages":[{"role":"user","content":"stranger"}]}`))
		case 1:
			_ = f.WriteRSTStream(stream, http2.ErrCodeCancel)
		case 2:
			_ = f.WriteData(stream, false, []byte("{"))
		case 3:
			_ = f.WriteWindowUpdate(stream, 1<<31-1)
		case 4:
			_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(r.IntN(2)) << 31})
		case 5:
			_ = f.WriteRawFrame(http2.FrameType(r.IntN(16)), http2.Flags(r.IntN(256)), stream-uint32(r.IntN(2)), []byte("xxxxxxxx"))
		case 6:
			_ = f.WritePing(false, [8]byte{1})
		}
	}
}

// The same with resets: a stream that ends at once costs no place.
func TestRapidReset(t *testing.T) {
	g := begin(t, managed)
	good := g.mint(`{}`)
	stop := g.canary(good)
	for range 10 {
		c, err := g.dial()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte(http2.ClientPreface))
		f := http2.NewFramer(c, c)
		_ = f.WriteSettings()
		go func() {
			buffer := make([]byte, 32<<10)
			for {
				if _, err := c.Read(buffer); err != nil {
					return
				}
			}
		}()
		var block bytes.Buffer
		enc := hpack.NewEncoder(&block)
		for stream := uint32(1); stream < 2001; stream += 2 {
			block.Reset()
			for _, p := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "x"}, {":path", "/v1/chat/completions"}, {"authorization", "Bearer " + good}, {"content-length", "100000"}} {
				_ = enc.WriteField(hpack.HeaderField{Name: p[0], Value: p[1]})
			}
			if f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true}) != nil ||
				f.WriteRSTStream(stream, http2.ErrCodeCancel) != nil {
				break
			}
		}
		c.Close()
	}
	stop()
	g.alive()
}
