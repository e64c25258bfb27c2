package chat2response

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/labiium/chat2response/internal/fakeopenai"
)

// direction is a client's API at an upstream's.
type direction struct {
	name, path string
	body       func(model string, stream bool) string
	upstream   fakeopenai.API
	chatFace   bool // the client reads Chat
}

// directions are the ways on which an answer is translated.
var directions = []direction{
	{"responses from chat", "/v1/responses", responsesBody, fakeopenai.Chat, false},
	{"chat from responses", "/v1/chat/completions", chatBody, fakeopenai.Responses, true},
	{"proxy, chat body, from chat", "/proxy", chatBody, fakeopenai.Chat, false},
	{"proxy, chat body, from responses", "/proxy", chatBody, fakeopenai.Responses, false},
	{"proxy, responses body, from chat", "/proxy", responsesBody, fakeopenai.Chat, false},
}

// frames are the events of a fixture's stream, each with its blank line.
func frames(api fakeopenai.API, dialect, scenario string) [][]byte {
	all := bytes.SplitAfter(fakeopenai.Stream(api, dialect, scenario), []byte("\n\n"))
	return all[:len(all)-1]
}

// raw takes the connection of a request away from net/http and begins a chunked
// answer of server-sent events on it.
func raw(w http.ResponseWriter, r *http.Request, head string) *net.TCPConn {
	io.Copy(io.Discard, r.Body)
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	io.WriteString(c, "HTTP/1.1 200 OK\r\n"+head+"\r\n")
	return c.(*net.TCPConn)
}

// Close, else the next request might take the connection just before it ends.
const chunkedSSE = "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"

func chunk(c io.Writer, b []byte) { fmt.Fprintf(c, "%x\r\n%s\r\n", len(b), b) }

// deaths are the ways in which an upstream stops in the middle.
var deaths = map[string]func(c *net.TCPConn){
	"FIN": func(c *net.TCPConn) { c.Close() },
	"RST": func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
	// The connection ends as HTTP has it, only the answer does not.
	"early end": func(c *net.TCPConn) { io.WriteString(c, "0\r\n\r\n"); c.Close() },
}

func TestUpstreamDiesInMidStream(t *testing.T) {
	type script struct {
		sent [][]byte
		die  func(*net.TCPConn)
	}
	var now atomic.Pointer[script]
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		s, c := now.Load(), raw(w, r, chunkedSSE)
		for _, f := range s.sent {
			chunk(c, f)
		}
		if len(s.sent) > 0 {
			time.Sleep(10 * time.Millisecond) // an RST takes with it what was not read
		}
		s.die(c)
	})
	for _, d := range directions {
		g := start(t, "chat2response "+addr+" {\n mode "+string(d.upstream)+"\n}")
		all := frames(d.upstream, "openai", "text")
		for how, die := range deaths {
			for _, n := range []int{0, 1, 2, len(all) / 2, len(all) - 3} {
				now.Store(&script{all[:n], die})
				name := fmt.Sprintf("%s/%s after %d", d.name, how, n)
				t.Run(name+"/stream", func(t *testing.T) { checkDeath(t, g.post(d.path, d.body("fake-text", true)), d.chatFace, n) })
				t.Run(name+"/whole", func(t *testing.T) {
					a := g.post(d.path, d.body("fake-text", false))
					if a.err != nil || a.status != 502 {
						t.Fatalf("%d %v %s", a.status, a.err, a.body)
					}
					a.openAIError(t)
				})
			}
		}
	}
}

// checkDeath demands one failure, and no end that looks like a good one.
func checkDeath(t *testing.T, a httpAnswer, chatFace bool, n int) {
	t.Helper()
	if a.err != nil {
		t.Fatalf("no clean end: %v", a.err)
	}
	if strings.Contains(a.body, "response.completed") || strings.Contains(a.body, `"finish_reason":"stop"`) {
		t.Errorf("it looks complete:\n%s", a.body)
	}
	events := a.events()
	if a.status != 200 && n == 0 { // nothing was sent yet: it can still be a status
		if a.status != 502 {
			t.Errorf("status %d: %s", a.status, a.body)
		}
		a.openAIError(t)
		return
	}
	if chatFace {
		last := events[len(events)-1].data
		if a.status != 200 || dig(object(t, []byte(last)), "error", "message") == nil {
			t.Errorf("%d, the last event is %s", a.status, last)
		}
		return
	}
	got := kinds(events)
	if a.status != 200 || len(got) < 4 || !slices.Equal(got[len(got)-3:], []string{"error", "response.failed", "[DONE]"}) ||
		count(got, "response.failed") != 1 || count(got, "error") != 1 || got[0] != "response.created" {
		t.Errorf("%d %q", a.status, got)
	}
	for i, e := range events[:len(events)-1] {
		if seq := dig(object(t, []byte(e.data)), "sequence_number"); seq != float64(i) {
			t.Errorf("event %d has the sequence number %v", i, seq)
		}
	}
}

// TestClientLeaves: the upstream hears of it at once. The best of five counts, as
// the machine that runs this does other things too.
func TestClientLeaves(t *testing.T) {
	for _, d := range append(directions, directions[0]) {
		t.Run(d.name, func(t *testing.T) {
			best := slices.Min(leaves(t, d, 5))
			t.Logf("after %v", best)
			if best > 100*time.Millisecond {
				t.Errorf("the upstream was cancelled after %v", best)
			}
		})
	}
}

// leaves leaves so many streams, one after the other, and returns how long after that
// the upstream heard of each.
func leaves(t *testing.T, d direction, times int) (took []time.Duration) {
	gone := make(chan time.Time, 1)
	first := frames(d.upstream, "openai", "text")[0]
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		w.Write(first)
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		gone <- time.Now()
	})
	g := start(t, "chat2response "+addr+" {\n mode "+string(d.upstream)+"\n}")
	for range times {
		s := g.stream(d.path, d.body("fake-text", true))
		s.next(t)
		left := time.Now()
		s.cancel()
		select {
		case at := <-gone:
			took = append(took, at.Sub(left))
		case <-time.After(5 * time.Second):
			t.Fatal("the upstream was never cancelled")
		}
	}
	return took
}

// TestClientLeavesBeforeTheAnswer is the same before the upstream has said a word.
func TestClientLeavesBeforeTheAnswer(t *testing.T) {
	gone, came := make(chan bool, 1), make(chan bool, 1)
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		came <- true
		<-r.Context().Done()
		gone <- true
	})
	g := start(t, "chat2response "+addr+" {\n mode chat\n}")
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	body := responsesBody("m", true)
	fmt.Fprintf(c, "POST /v1/responses HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", g.addr, len(body), body)
	<-came
	c.Close()
	select {
	case <-gone:
	case <-time.After(time.Second):
		t.Error("the upstream was not cancelled")
	}
	e := g.accessLog()
	if e["status"] != 499.0 || e["chat2response_outcome"] != "client_gone" {
		t.Errorf("logged as %v, %v", e["status"], e["chat2response_outcome"])
	}
}

// TestRetry: of two upstreams one is down, and the other gets the whole request.
func TestRetry(t *testing.T) {
	tests := map[string]struct {
		dead    func(t *testing.T) string
		options string
	}{
		// Two addresses and nothing else.
		"refused": {deadAddr, "mode chat"},
		// A POST that an upstream has taken is tried again only when asked for.
		"cut behind the body": {func(t *testing.T) string {
			return upstream(t, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				panic(http.ErrAbortHandler)
			})
		}, "mode chat\n lb_policy round_robin\n lb_retries 2\n lb_retry_match {\n method POST\n }"},
		"503": {func(t *testing.T) string {
			return upstream(t, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				w.WriteHeader(503)
			})
		}, "mode chat\n lb_policy round_robin\n lb_retries 2\n lb_retry_match {\n expression `{rp.status_code} in [502, 503]`\n }"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			live, addr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Chat}})
			g := start(t, "chat2response "+test.dead(t)+" "+addr+" {\n"+test.options+"\n}")
			long := strings.Repeat("All of this must arrive. ", 20_000) // more than any socket buffer takes at once
			paths := map[string]string{
				"/v1/responses":        `{"model":"fake-echo","input":"` + long + `"}`,
				"/v1/chat/completions": `{"model":"fake-echo","messages":[{"role":"user","content":"` + long + `"}]}`,
			}
			for path, body := range paths {
				for i := range 6 { // whichever of the two is chosen first
					live.Reset()
					a := g.post(path, body)
					if a.status != 200 || !strings.Contains(a.body, "All of this must arrive.") {
						t.Fatalf("%s, request %d: %d %.300s", path, i, a.status, a.body)
					}
					requests := live.Requests()
					if len(requests) != 1 {
						t.Fatalf("%d requests", len(requests))
					}
					got := requests[0]
					if n := strings.Count(string(got.Body), "All of this must arrive."); n != 20_000 || got.Header.Get("Content-Length") != fmt.Sprint(len(got.Body)) {
						t.Errorf("%s: %d of 20000 arrived, %d bytes, announced %s", path, n, len(got.Body), got.Header.Get("Content-Length"))
					}
					if path == "/v1/chat/completions" && string(got.Body) != body {
						t.Error("the client's own bytes did not arrive as they were")
					}
				}
			}
		})
	}
}

// TestNoUpstream: an upstream that cannot be reached is a 502, or a 503 when it is
// known to be down, in OpenAI's form.
func TestNoUpstream(t *testing.T) {
	dead := deadAddr(t)
	for _, path := range []string{"/v1/responses", "/v1/chat/completions", "/v1/models"} {
		g := start(t, "chat2response "+dead+" {\n mode chat\n}")
		method, body := http.MethodPost, chatBody("m", true)
		switch path {
		case "/v1/responses":
			body = responsesBody("m", true)
		case "/v1/models":
			method, body = http.MethodGet, ""
		}
		a := g.do(method, path, body)
		e := a.openAIError(t)
		if a.status != 502 || e.code() != "upstream_unavailable" || e.Type != "server_error" || strings.Contains(e.Message, "127.0.0.1") {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
		if e := g.accessLog(); e["status"] != 502.0 || e["chat2response_outcome"] != "upstream_error" {
			t.Errorf("%s: logged as %v, %v", path, e["status"], e["chat2response_outcome"])
		}
	}
	g := start(t, "chat2response "+dead+" {\n mode chat\n fail_duration 1m\n}")
	g.post("/v1/responses", responsesBody("m", false))
	if a := g.post("/v1/responses", responsesBody("m", false)); a.status != 503 {
		t.Errorf("%d %s", a.status, a.body)
	} else {
		a.openAIError(t)
	}
}

// TestTimeouts are the transport's: before the answer a 504, within it a failure.
func TestTimeouts(t *testing.T) {
	silent := func(first []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			if first != nil {
				w.Header().Set("Content-Type", "text/event-stream")
				w.Write(first)
				http.NewResponseController(w).Flush()
			}
			<-r.Context().Done()
		}
	}
	for _, d := range directions {
		for _, stream := range []bool{true, false} {
			g := start(t, fmt.Sprintf("chat2response %s {\n mode %s\n transport http {\n response_header_timeout 50ms\n }\n}", upstream(t, silent(nil)), d.upstream))
			a := g.post(d.path, d.body("m", stream))
			if a.status != 504 || a.openAIError(t).code() != "upstream_timeout" {
				t.Errorf("%s: %d %s", d.name, a.status, a.body)
			}
		}
		all := frames(d.upstream, "openai", "text")
		g := start(t, fmt.Sprintf("chat2response %s {\n mode %s\n transport http {\n read_timeout 50ms\n }\n}", upstream(t, silent(slices.Concat(all[:5]...))), d.upstream))
		checkDeath(t, g.post(d.path, d.body("m", true), "Accept", "text/event-stream"), d.chatFace, 5)
	}
}

// TestFailuresAreLogged, before the answer and within it, without what was said.
func TestFailuresAreLogged(t *testing.T) {
	for name, addr := range map[string]string{
		"refused": deadAddr(t),
		"cut": upstream(t, func(w http.ResponseWriter, r *http.Request) {
			c := raw(w, r, chunkedSSE)
			chunk(c, frames(fakeopenai.Chat, "openai", "text")[0])
			c.Close()
		}),
		"500": upstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }),
	} {
		g := start(t, "chat2response "+addr+" {\n mode chat\n}")
		g.post("/v1/responses", `{"model":"m","input":"a secret question","stream":true}`)
		found := false
		for _, e := range takeLogs() {
			if e["logger"] == "http.handlers.chat2response" && e["msg"] == "upstream failed" && e["model"] == "m" && e["level"] == "error" {
				found = true
			}
			if strings.Contains(fmt.Sprint(e), "secret question") {
				t.Errorf("%s: logged %v", name, e)
			}
		}
		if !found {
			t.Errorf("%s: it is not in the log", name)
		}
	}
}

// TestExpressFails: on the express lane too a stream that breaks off between two
// events ends with one that says so.
func TestExpressFails(t *testing.T) {
	for _, c := range []struct {
		path string
		api  fakeopenai.API
		body string
	}{
		{"/v1/chat/completions", fakeopenai.Chat, chatBody("m", true)},
		{"/v1/responses", fakeopenai.Responses, responsesBody("m", true)},
		{"/proxy", fakeopenai.Responses, responsesBody("m", true)},
	} {
		addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
			c2 := raw(w, r, chunkedSSE)
			for _, f := range frames(c.api, "openai", "text")[:3] {
				chunk(c2, f)
			}
			time.Sleep(10 * time.Millisecond)
			c2.Close()
		})
		g := start(t, "chat2response "+addr+" {\n mode "+string(c.api)+"\n}")
		a := g.post(c.path, c.body)
		checkDeath(t, a, c.api == fakeopenai.Chat, 3)
		if e := g.accessLog(); e["chat2response_outcome"] != "upstream_cut" {
			t.Errorf("%s: logged as %v", c.path, e["chat2response_outcome"])
		}
	}
}

// TestExpressIsCut: on the express lane the client sees what the upstream did where
// nothing can be said any more.
func TestExpressIsCut(t *testing.T) {
	for _, path := range []string{"/v1/chat/completions", "/v1/models"} {
		addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
			c := raw(w, r, chunkedSSE)
			chunk(c, bytes.TrimSuffix(frames(fakeopenai.Chat, "openai", "text")[0], []byte("\n")))
			time.Sleep(10 * time.Millisecond)
			c.Close()
		})
		g := start(t, "chat2response "+addr+" {\n mode chat\n}")
		a := g.post(path, chatBody("m", true))
		if a.err == nil || a.status != 200 || !strings.Contains(a.body, "chat.completion.chunk") {
			t.Errorf("%s: %d %v %s", path, a.status, a.err, a.body)
		}
		if e := g.accessLog(); e["chat2response_outcome"] != "aborted" {
			t.Errorf("%s: logged as %v", path, e["chat2response_outcome"])
		}
	}
}
