//go:build attack && linux

package attack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// M3: a client that announces a body and leaves is the client's failure. With two addresses the module switches an
// upstream off that fails.
func TestLeaversSwitchNothingOff(t *testing.T) {
	for name, site := range map[string]string{
		"with keys": managed,
		"without":   "chat2response {UP} {\n mode chat\n api_key " + operatorKey + "\n allow_anonymous\n state off\n}",
	} {
		t.Run(name, func(t *testing.T) {
			second := newProvider(t)
			g := begin(t, strings.Replace(site, "{UP}", "{UP} "+strings.TrimPrefix(second.URL, "http://"), 1))
			good := "none"
			if site == managed {
				good = g.mint(`{}`)
			}
			leave(t, g, good)
		})
	}
}

func leave(t *testing.T, g *gateway, good string) {
	t.Helper()
	for _, path := range []string{"/v1/chat/completions", "/v1/embeddings", "/v1/completions"} {
		for _, length := range []int{100_000, 100, 3 << 20} {
			for i := range 12 {
				c, err := g.dial()
				if err != nil {
					t.Fatal(err)
				}
				if i%2 == 0 {
					shortBody(c, path, good, length, i%4 == 0)
				} else {
					_, _ = io.WriteString(c, head(path, good, "", length)+"{")
				}
				time.Sleep(10 * time.Millisecond) // it is on its way
				tcp := c.(*net.TCPConn)
				switch i % 3 {
				case 0: // it says that nothing will come, and listens on
					_ = tcp.CloseWrite()
					time.Sleep(20 * time.Millisecond)
				case 1: // it is reset
					_ = tcp.SetLinger(0)
				}
				c.Close()
			}
			for range 4 { // each address has its turn
				if a := g.must("POST", "/v1/chat/completions", hello, bearer(good)...); a.status != 200 {
					t.Errorf("after clients that left %s with %d bytes announced: %d %.200s", path, length, a.status, a.body)
				}
			}
		}
	}
}

// shortBody sends, by HTTP/2, a body that ends or is reset before what it has announced. Whoever sends it is still
// there, so that the request is not cancelled: its body cannot be read, which is no fault of the upstream's.
func shortBody(c net.Conn, path, key string, length int, ends bool) {
	_, _ = io.WriteString(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	_ = f.WriteSettings()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, p := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "x"}, {":path", path}, {"content-type", "application/json"}, {"authorization", "Bearer " + key}, {"content-length", fmt.Sprint(length)}} {
		_ = enc.WriteField(hpack.HeaderField{Name: p[0], Value: p[1]})
	}
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	_ = f.WriteData(1, false, []byte("{"))
	time.Sleep(5 * time.Millisecond)
	if ends {
		_ = f.WriteData(1, true, []byte("}"))
	} else {
		_ = f.WriteRSTStream(1, http2.ErrCodeCancel)
	}
}

// M6: an answer of which a part was torn is never shown as whole.
func TestTornEvents(t *testing.T) {
	g := begin(t, managed)
	good := g.mint(`{}`)
	chunk := func(delta, finish string) string {
		return `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":` + delta + `,"finish_reason":` + finish + `}]}`
	}
	whole := chunk(`{"content":"lost text"}`, "null")
	torn := map[string]string{
		"cut":            whole[:len(whole)-9],
		"cut in a word":  whole[:len(whole)-40],
		"NUL":            strings.Replace(whole, "lost", "lo\x00st", 1),
		"NaN":            strings.Replace(whole, `"index":0`, `"index":0,"logprobs":{"content":[{"token":"a","logprob":NaN}]}`, 1),
		"-Infinity":      strings.Replace(whole, `"index":0`, `"index":0,"logprobs":{"content":[{"token":"a","logprob":-Infinity}]}`, 1),
		"trailing comma": strings.Replace(whole, `}]}`, `},]}`, 1),
		"two objects":    whole + whole,
		"a number":       chunk(`{"content":7}`, "null"),
		"an object":      chunk(`{"content":{"text":"lost"}}`, "null"),
	}
	r := random(t)
	for i := range 60 { // one byte becomes one that ends strings or is none of JSON's
		b := []byte(whole)
		at := 1 + r.IntN(len(b)-1)
		b[at] = []byte{0, 1, '"', '{', '}', '[', ']', '\\', 0xff}[r.IntN(9)]
		if !json.Valid(b) { // else it is another event, and nothing shows that text was in it
			torn[fmt.Sprintf("%d: byte %d is %q", i, at, b[at])] = string(b)
		}
	}
	for name, data := range torn {
		g.up.answers(func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "data: %s\n\ndata: %s\n\ndata: %s\n\ndata: [DONE]\n\n", chunk(`{"role":"assistant","content":"first "}`, "null"), data, chunk(`{}`, `"stop"`))
			return true
		})
		a := g.must("POST", "/v1/responses", `{"model":"m","stream":true,"input":"x"}`, bearer(good)...)
		if strings.Contains(a.body, "event: response.completed") && !strings.Contains(a.body, "lost") {
			t.Errorf("%s: completed without it", name)
		}
		a = g.must("POST", "/v1/responses", `{"model":"m","input":"x"}`, bearer(good)...)
		if strings.Contains(a.body, `"status":"completed"`) && !strings.Contains(a.body, "lost") {
			t.Errorf("%s, not streamed: completed without it", name)
		}
	}
}

// An upstream that answers without end is ended, and the good key is served meanwhile.
func TestEndlessUpstream(t *testing.T) {
	g := begin(t, managed)
	good := g.mint(`{}`)
	g.up.answers(func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		if !strings.Contains(string(body), "endless") {
			return false
		}
		w.Header().Set("Content-Type", "text/event-stream")
		piece := []byte(": " + strings.Repeat("x", 64<<10) + "\n")
		if strings.Contains(string(body), "line") {
			piece = []byte(strings.Repeat("data", 16<<10))
		}
		for range 4096 {
			if _, err := w.Write(piece); err != nil {
				return true
			}
		}
		return true
	})
	most, stop := g.watch(), g.canary(good)
	for _, kind := range []string{"endless comments", "endless line"} {
		for _, stream := range []string{"true", "false"} {
			_, _ = g.ask("POST", "/v1/responses", fmt.Sprintf(`{"model":"m","stream":%s,"input":%q}`, stream, kind), bearer(good)...)
		}
	}
	stop()
	if peak := most(); peak > mostMemory {
		t.Errorf("%d MiB resident", peak)
	}
	g.alive()
}
