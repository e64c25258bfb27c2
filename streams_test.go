package chat2response

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/labiium/chat2response/internal/fakeopenai"
)

// steps is an upstream that sends a stream's frames when it is told to, one by
// one.
type steps struct {
	frames [][]byte
	next   chan int // how many frames to send
	gone   chan bool
	zipped atomic.Bool
}

func newSteps(t *testing.T, d int) *steps {
	s := &steps{frames: frames(directions[d].upstream, "openai", "text"), next: make(chan int), gone: make(chan bool, 10)}
	t.Cleanup(func() { close(s.next) })
	return s
}

// send lets the upstream send n frames.
func (s *steps) send(t *testing.T, n int) {
	t.Helper()
	select {
	case s.next <- n:
	case <-time.After(5 * time.Second):
		t.Fatal("the upstream does not take part")
	}
}

func (s *steps) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "text/event-stream")
	var out io.Writer = w
	flush := http.NewResponseController(w).Flush
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") && r.URL.RawQuery == "" {
		w.Header().Set("Content-Encoding", "gzip")
		s.zipped.Store(true)
		z := gzip.NewWriter(w)
		defer z.Close()
		out = z
		flush = func() error { z.Flush(); return http.NewResponseController(w).Flush() }
	}
	flush()
	for i := 0; i < len(s.frames); {
		select {
		case n, ok := <-s.next:
			if !ok {
				return
			}
			for range n {
				out.Write(s.frames[i])
				i++
			}
			flush()
		case <-r.Context().Done():
			s.gone <- true
			return
		}
	}
}

// TestEventsArriveOneByOne: each word is at the client before the upstream says
// the next, whatever is in between.
func TestEventsArriveOneByOne(t *testing.T) {
	tests := map[string]struct {
		site    string // %s is the upstream, %s its mode
		server  func(h http.Handler) *httptest.Server
		headers []string
	}{
		"plain":              {site: "chat2response %s {\n mode %s\n transport http {\n compression off\n }\n}"},
		"gzip upstream":      {site: "chat2response %s {\n mode %s\n}"},
		"encode in front":    {site: "encode gzip\n chat2response %s {\n mode %s\n}", headers: []string{"Accept-Encoding", "gzip"}},
		"flush_interval":     {site: "chat2response %s {\n mode %s\n flush_interval -1\n}"},
		"next handler":       {site: "chat2response {\n mode %[2]s\n}\n reverse_proxy %[1]s"},
		"handle":             {site: "handle {\n chat2response %s {\n mode %s\n}\n}"},
		"h2c upstream":       {site: "chat2response h2c://%s {\n mode %s\n}", server: h2c},
		"intercept in front": {site: "route {\n intercept {\n @e status 599\n handle_response @e {\n respond 500\n}\n}\n chat2response %s {\n mode %s\n}\n}"},
	}
	for name, test := range tests {
		for _, d := range []int{0, 1, 2} {
			t.Run(name+"/"+directions[d].name, func(t *testing.T) {
				up := newSteps(t, d)
				serve := test.server
				if serve == nil {
					serve = httptest.NewServer
				}
				server := serve(up)
				t.Cleanup(server.Close)
				g := start(t, fmt.Sprintf(test.site, server.Listener.Addr(), directions[d].upstream))
				l := g.stream(directions[d].path, directions[d].body("fake-text", true), test.headers...)
				seen := ""
				for _, f := range up.frames {
					up.send(t, 1)
					want := ""
					readEvents(bytes.NewReader(f), func(e event) { want += text([]event{e}) })
					for got := ""; got != want; seen += got {
						got = text([]event{l.next(t)})
					}
				}
				l.rest(t)
				if up.zipped.Load() != (name != "plain") {
					t.Errorf("the upstream compressed: %v", up.zipped.Load())
				}
				if encoding := l.resp.Header.Get("Content-Encoding"); (encoding == "gzip") != (test.headers != nil) {
					t.Errorf("Content-Encoding %q", encoding)
				}
				if seen != "Hello! I am a fake model. How can I help you today?" || l.err != nil {
					t.Errorf("%q %v", seen, l.err)
				}
			})
		}
	}
}

func h2c(h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			w.WriteHeader(http.StatusHTTPVersionNotSupported)
			return
		}
		h.ServeHTTP(w, r)
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Config.Protocols.SetHTTP1(true)
	s.Start()
	return s
}

// TestReloadInMidStream: the stream of the old configuration goes on to its end.
func TestReloadInMidStream(t *testing.T) {
	for _, d := range []int{0, 1, 2} {
		t.Run(directions[d].name, func(t *testing.T) {
			up := newSteps(t, d)
			server := httptest.NewServer(up)
			t.Cleanup(server.Close)
			site := fmt.Sprintf("chat2response %s {\n mode %s\n transport http {\n compression off\n }\n}", server.Listener.Addr(), directions[d].upstream)
			g := start(t, site)
			l := g.stream(directions[d].path, directions[d].body("fake-text", true))
			up.send(t, 3)
			l.next(t)
			for i := range 3 {
				g.load("respond /" + fmt.Sprint(i) + " 200\n" + site)
				up.send(t, 1)
			}
			g.load("respond \"no gateway here\"")
			up.send(t, len(up.frames)-6)
			events := l.rest(t)
			if l.err != nil || events[len(events)-1].data != "[DONE]" {
				t.Errorf("%v, %v", l.err, events)
			}
			if all := text(events); !strings.HasSuffix(all, "How can I help you today?") {
				t.Errorf("%q", all)
			}
			if a := g.post("/v1/responses", "{}"); a.body != "no gateway here" {
				t.Errorf("the new configuration is not in force: %d %s", a.status, a.body)
			}
		})
	}
}

// TestKeepAlive: a silent upstream does not make a silent client's connection.
func TestKeepAlive(t *testing.T) {
	for _, d := range []int{0, 1, 2} {
		t.Run(directions[d].name, func(t *testing.T) {
			up := newSteps(t, d)
			server := httptest.NewServer(up)
			t.Cleanup(server.Close)
			g := start(t, fmt.Sprintf("chat2response %s {\n mode %s\n keep_alive 30ms\n}", server.Listener.Addr(), directions[d].upstream))
			l := g.stream(directions[d].path, directions[d].body("fake-text", true))
			comments := 0
			for comments < 3 {
				if e, _ := l.any(t); e.comment == "keepalive" {
					comments++
				}
			}
			up.send(t, len(up.frames))
			events := l.rest(t)
			if text(events) != "Hello! I am a fake model. How can I help you today?" || l.err != nil {
				t.Errorf("%v, %v", l.err, events)
			}
		})
	}
}

// TestKeepAliveOff, and a stream that is busy needs none.
func TestKeepAliveNeedless(t *testing.T) {
	for option, pause := range map[string]time.Duration{"off": 60 * time.Millisecond, "200ms": 20 * time.Millisecond} {
		_, addr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Chat}, Delay: pause})
		g := start(t, "chat2response "+addr+" {\n mode chat\n keep_alive "+option+"\n}")
		if a := g.post("/v1/responses", responsesBody("fake-text", true)); strings.Contains(a.body, "keepalive") {
			t.Errorf("keep_alive %s: %s", option, a.body)
		}
	}
}

// TestUpstreamNeverCloses: the answer ends when it is complete.
func TestUpstreamNeverCloses(t *testing.T) {
	defer func(g, l time.Duration) { grace, linger = g, l }(grace, linger)
	grace, linger = 300*time.Millisecond, 50*time.Millisecond
	for _, d := range directions {
		all := frames(d.upstream, "openai", "text")
		tests := map[string]int{"behind the last event": len(all)}
		if d.upstream == fakeopenai.Chat {
			tests["behind the finish reason"] = len(all) - 2 // without usage and [DONE]
		}
		for name, n := range tests {
			for _, stream := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/stream %v", d.name, name, stream), func(t *testing.T) {
					gone := make(chan bool, 1)
					addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
						io.Copy(io.Discard, r.Body)
						w.Header().Set("Content-Type", "text/event-stream")
						w.Write(slices.Concat(all[:n]...))
						http.NewResponseController(w).Flush()
						<-r.Context().Done()
						gone <- true
					})
					g := start(t, fmt.Sprintf("chat2response %s {\n mode %s\n}", addr, d.upstream))
					began := time.Now()
					a := g.post(d.path, d.body("fake-text", stream))
					if took := time.Since(began); took > time.Second || a.status != 200 || a.err != nil || !strings.Contains(a.body, "today?") {
						t.Errorf("%v, %v, %s", took, a.err, a.body)
					}
					if stream && !strings.HasSuffix(a.body, "data: [DONE]\n\n") {
						t.Errorf("it ends with %q", a.body[max(0, len(a.body)-200):])
					}
					select {
					case <-gone:
					case <-time.After(time.Second):
						t.Error("the upstream was not cancelled")
					}
				})
			}
		}
	}
}

// TestStopIsEmulated: a Responses upstream has no stop sequences; it is cancelled
// when one has come.
func TestStopIsEmulated(t *testing.T) {
	for _, path := range []string{"/v1/chat/completions", "/proxy"} {
		for _, stream := range []bool{true, false} {
			gone := make(chan bool, 1)
			all := frames(fakeopenai.Responses, "openai", "text")
			addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if strings.Contains(string(body), `"stop"`) {
					t.Error("stop was sent to the upstream")
				}
				if !stream {
					body, _ := fakeopenai.Answer(fakeopenai.Responses, "openai", "text")
					w.Header().Set("Content-Type", "application/json")
					w.Write(body)
					gone <- true
					return
				}
				w.Header().Set("Content-Type", "text/event-stream")
				for _, f := range all[:len(all)-5] {
					w.Write(f)
					http.NewResponseController(w).Flush()
				}
				<-r.Context().Done()
				gone <- true
			})
			g := start(t, "chat2response "+addr+" {\n mode responses\n}")
			a := g.post(path, fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":"Hi"}],"stop":["model."],"stream":%v}`, stream))
			got := a.body
			if stream {
				got = text(a.events())
				if got != "Hello! I am a fake " || !strings.HasSuffix(a.body, "data: [DONE]\n\n") {
					t.Errorf("%s: %q\n%s", path, got, a.body)
				}
			} else if !strings.Contains(got, `"Hello! I am a fake "`) || strings.Contains(got, "model.") {
				t.Errorf("%s: %s", path, got)
			}
			if a.status != 200 || a.err != nil || strings.Contains(a.body, "failed") {
				t.Errorf("%s: %d %v", path, a.status, a.err)
			}
			select {
			case <-gone:
			case <-time.After(time.Second):
				t.Errorf("%s: the upstream was not cancelled", path)
			}
			if e := g.accessLog(); e["chat2response_outcome"] != "completed" {
				t.Errorf("%s: logged as %v", path, e["chat2response_outcome"])
			}
		}
	}
}

// TestOtherForm: an upstream that streams where it was not asked to, or does not
// where it was.
func TestOtherForm(t *testing.T) {
	for _, d := range directions {
		for _, scenario := range []string{"text", "tools", "reasoning", "length"} {
			for _, stream := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/stream %v", d.name, scenario, stream), func(t *testing.T) {
					addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
						if stream {
							body, _ := fakeopenai.Answer(d.upstream, "generic", scenario)
							w.Header().Set("Content-Type", "application/json; charset=utf-8")
							w.Write(body)
							return
						}
						w.Header().Set("Content-Type", "Text/Event-Stream; charset=utf-8")
						w.Write(fakeopenai.Stream(d.upstream, "generic", scenario))
					})
					g := start(t, fmt.Sprintf("chat2response %s {\n mode %s\n}", addr, d.upstream))
					a := g.post(d.path, d.body("m", stream))
					want := map[string]string{"text": "today?", "tools": "London", "reasoning": "after some thought", "length": "the clocks were"}[scenario]
					whole := a.body
					if stream && scenario != "tools" {
						whole = text(a.events())
					}
					if a.status != 200 || a.err != nil || !strings.Contains(whole, want) {
						t.Fatalf("%d %v %s", a.status, a.err, a.body)
					}
					if !stream {
						object(t, []byte(a.body))
					} else if !strings.HasSuffix(a.body, "data: [DONE]\n\n") {
						t.Errorf("%s", a.body)
					}
				})
			}
		}
	}
}

// TestStrangeAnswers of an upstream are 502, and are not followed or passed on.
func TestStrangeAnswers(t *testing.T) {
	html := "<!DOCTYPE html><html><body>It works!</body></html>"
	tests := map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
		"moved": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://example.com/", http.StatusMovedPermanently)
		},
		"HTML":           func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, html) },
		"HTML and 500":   func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500); io.WriteString(w, html) },
		"nothing":        func(w http.ResponseWriter, r *http.Request) {},
		"no content":     func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) },
		"not modified":   func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(304) },
		"half an object": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"id":"x","choices":[{`) },
		"no choices":     func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{}`) },
		"an array":       func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `[]`) },
		"an error of 200": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"error":{"message":"out of memory","code":null}}`)
		},
		"cut": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{"id":`)
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
	}
	for name, answer := range tests {
		for _, d := range directions {
			for _, stream := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/stream %v", name, d.name, stream), func(t *testing.T) {
					asked := 0
					addr := upstream(t, func(w http.ResponseWriter, r *http.Request) { asked++; answer(w, r) })
					g := start(t, fmt.Sprintf("chat2response %s {\n mode %s\n}", addr, d.upstream))
					a := g.post(d.path, d.body("m", stream))
					if want := map[bool]int{true: 500, false: 502}[name == "HTML and 500"]; a.status != want || asked != 1 {
						t.Errorf("%d after %d requests: %s", a.status, asked, a.body)
					}
					if e := a.openAIError(t); strings.Contains(e.Message, "<html>") || e.Type == "" {
						t.Errorf("%s", a.body)
					}
					if a.header.Get("Location") != "" {
						t.Errorf("%v", a.header)
					}
					if e := g.accessLog(); !strings.HasPrefix(fmt.Sprint(e["chat2response_outcome"]), "upstream_") {
						t.Errorf("logged as %v", e["chat2response_outcome"])
					}
				})
			}
		}
	}
}

// TestUpstream1xx: what comes before the answer is not the answer.
func TestUpstream1xx(t *testing.T) {
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</x>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusProcessing)
		body, _ := fakeopenai.Answer(fakeopenai.Chat, "openai", "text")
		w.Header().Set("Content-Type", "application/json")
		w.Write(body)
	})
	g := start(t, "chat2response "+addr+" {\n mode chat\n}")
	if a := g.post("/v1/responses", responsesBody("m", false)); a.status != 200 || !strings.Contains(a.body, "today?") {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestLargeAnswers: memory is bounded; what is too large is a failure, not a cut.
func TestLargeAnswers(t *testing.T) {
	word := strings.Repeat("0123456789abcdef", 4096) // 64 KiB
	tests := map[string]func(w http.ResponseWriter){
		"an answer of 65 MiB": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"id":"x","choices":[{"message":{"content":"`)
			for range 65 << 20 / len(word) {
				io.WriteString(w, word)
			}
		},
		"an event of 17 MiB": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, `data: {"choices":[{"index":0,"delta":{"content":"`)
			for range 17 << 20 / len(word) {
				io.WriteString(w, word)
			}
			io.WriteString(w, "\"}}]}\n\n")
		},
	}
	for name, send := range tests {
		for _, stream := range []bool{true, false} {
			addr := upstream(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); send(w) })
			g := start(t, "chat2response "+addr+" {\n mode chat\n}")
			a := g.post("/v1/responses", responsesBody("m", stream))
			if stream && strings.Contains(name, "event") {
				if got := kinds(a.events()); a.err != nil || !slices.Equal(got, []string{"response.created", "response.in_progress", "error", "response.failed", "[DONE]"}) {
					t.Errorf("%s: %v %q", name, a.err, got)
				}
			} else if a.status != 502 {
				t.Errorf("%s: %d %.300s", name, a.status, a.body)
			} else {
				a.openAIError(t)
			}
			if !strings.Contains(a.body, "too large") || len(a.body) > 10_000 {
				t.Errorf("%s: %.300s", name, a.body)
			}
		}
	}
}

// TestAPanicOfTheUpstreamsHandler goes on to Caddy, and leaves no timer behind that
// writes into an answer which is over.
func TestAPanicOfTheUpstreamsHandler(t *testing.T) {
	g := start(t, "route {\n chat2response {\n mode chat\n keep_alive 10ms\n}\n chat2response_panics\n}")
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	body := responsesBody("m", true)
	fmt.Fprintf(c, "POST /v1/responses HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", g.addr, len(body), body)
	got, _ := io.ReadAll(c)
	if strings.Contains(string(got), "response.completed") || strings.HasSuffix(string(got), "0\r\n\r\n") {
		t.Errorf("it ends well: %s", got)
	}
	time.Sleep(50 * time.Millisecond) // a timer that lives would write now
	if e := g.accessLog(); e["chat2response_route"] != "responses" {
		t.Errorf("logged as %v", e)
	}
}

// panics is a handler that begins an answer and panics.
type panics struct{}

func init() {
	caddy.RegisterModule(panics{})
	httpcaddyfile.RegisterHandlerDirective("chat2response_panics", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) { return panics{}, nil })
}

func (panics) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.chat2response_panics", New: func() caddy.Module { return new(panics) }}
}

func (panics) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Write(frames(fakeopenai.Chat, "openai", "text")[0])
	panic("a bug")
}
