//go:build attack && linux

package attack

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

const (
	connections = 1000
	mostMemory  = 600 // MiB resident, with max_bodies 256MiB
)

// crowd opens connections, sends start on each, then more in each round, and leaves them open while the good key is
// served. It does so in waves: what the first has taken is memory that the second gets back dirty, so that a window of
// which a decoder has written little is resident too.
func crowd(t *testing.T, g *gateway, good string, start, more []byte, rounds, waves int) {
	t.Helper()
	most, stop := g.watch(), g.canary(good)
	refused := 0
	for range waves {
		var all []net.Conn
		for range connections {
			c, err := g.dial()
			if err != nil {
				g.alive()
				refused++
				continue
			}
			all = append(all, c)
			_, _ = c.Write(start)
		}
		for range rounds {
			for _, c := range all {
				_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
				_, _ = c.Write(more) // whoever was refused is gone
			}
		}
		time.Sleep(1500 * time.Millisecond) // the attack goes on while the canary asks
		for _, c := range all {
			c.Close()
		}
	}
	stop()
	if peak := most(); peak > mostMemory {
		t.Errorf("%d MiB resident; at most %d should be", peak, mostMemory)
	} else {
		t.Logf("%d MiB resident at most, %d connections refused", peak, refused)
	}
	g.alive()
}

// head is the head of a request that announces length bytes.
func head(path, key, encoding string, length int) string {
	s := "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	if key != "" {
		s += "Authorization: Bearer " + key + "\r\n"
	}
	if encoding != "" {
		s += "Content-Encoding: " + encoding + "\r\n"
	}
	return s + fmt.Sprintf("Content-Length: %d\r\n\r\n", length)
}

// zstdWindow begins a frame with a window of 8 MiB, and has one block in it (RFC 8878 §3.1.1).
var zstdWindow = append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 13 << 3}, 0x02, 0x00, 0x08, ' ') // an RLE block of 64 KiB of blanks

func brotliWindow(t *testing.T) []byte {
	var b bytes.Buffer
	w := brotli.NewWriterOptions(&b, brotli.WriterOptions{Quality: 5, LGWin: 24})
	noise := make([]byte, 66<<10)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(' ' + r.IntN(90))
	}
	if _, err := w.Write(noise); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// H2, H3: bodies that are announced, dripped, or keep a decoder's window, cost what has come, and push nobody out.
func TestHeldBodies(t *testing.T) {
	br := brotliWindow(t)
	for name, c := range map[string]struct {
		encoding string
		announce int
		first    []byte
		more     []byte
		rounds   int
		waves    int
	}{
		"announced": {announce: 1 << 20, first: []byte("{")},
		"dripped":   {announce: 1 << 20, first: []byte("{"), more: bytes.Repeat([]byte(" "), 1024), rounds: 16},
		"zstd":      {encoding: "zstd", announce: 100_000, first: zstdWindow, waves: 3},
		"br":        {encoding: "br", announce: 1 << 20, first: br, waves: 3},
		"gzip":      {encoding: "gzip", announce: 100_000, first: []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3}},
	} {
		for _, door := range []string{"/convert without a key", "/v1/responses with one", "/v1/responses without"} {
			if strings.HasSuffix(door, "without") && name != "announced" {
				continue // the key is looked at before the body, whatever it is
			}
			t.Run(name+" "+strings.ReplaceAll(door, "/", " "), func(t *testing.T) {
				g := begin(t, managed)
				good, key := g.mint(`{"label":"good"}`), ""
				if strings.HasSuffix(door, "one") {
					key = g.mint(`{"label":"bad"}`)
				}
				path, _, _ := strings.Cut(door, " ")
				start := append([]byte(head(path, key, c.encoding, c.announce)), c.first...)
				crowd(t, g, good, start, c.more, c.rounds, max(c.waves, 1))
			})
		}
	}
}

// H2: sixteen connections with 1 MiB of an announced 32 answered everybody 503.
func TestLargeAnnounced(t *testing.T) {
	g := begin(t, managed)
	good := g.mint(`{}`)
	start := append([]byte(head("/convert", "", "", 32<<20)), bytes.Repeat([]byte(" "), 1<<20)...)
	most, stop := g.watch(), g.canary(good)
	var wg sync.WaitGroup
	hold := make(chan struct{})
	for range 32 {
		wg.Go(func() {
			c, err := g.dial()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = c.Write(start)
			<-hold
		})
	}
	time.Sleep(2 * time.Second)
	stop()
	close(hold)
	wg.Wait()
	if peak := most(); peak > mostMemory {
		t.Errorf("%d MiB resident", peak)
	}
}

// Bombs come whole, and unpack to far more than they are.
func TestBombs(t *testing.T) {
	const unpacked = 256 << 20
	pack := map[string]func(io.Writer) io.WriteCloser{
		"gzip": func(w io.Writer) io.WriteCloser { z, _ := gzip.NewWriterLevel(w, 9); return z },
		"zstd": func(w io.Writer) io.WriteCloser { z, _ := zstd.NewWriter(w, zstd.WithWindowSize(8<<20)); return z },
		"br":   func(w io.Writer) io.WriteCloser { return brotli.NewWriterLevel(w, 5) },
	}
	g := begin(t, managed)
	good := g.mint(`{}`)
	for encoding, open := range pack {
		t.Run(encoding, func(t *testing.T) {
			var b bytes.Buffer
			w := open(&b)
			blanks := bytes.Repeat([]byte(" "), 1<<20)
			for range unpacked >> 20 {
				_, _ = w.Write(blanks)
			}
			w.Close()
			most, stop := g.watch(), g.canary(good)
			var wg sync.WaitGroup
			for i := range 64 {
				wg.Go(func() {
					path := []string{"/convert", "/v1/responses", "/v1/chat/completions"}[i%3]
					key := ""
					if i%3 != 0 {
						key = good
					}
					r := g.raw(head(path, key, encoding, b.Len()) + b.String())
					if r.status == 200 {
						t.Errorf("%d bytes that unpack to %d MiB are taken", b.Len(), unpacked>>20)
					}
				})
			}
			wg.Wait()
			stop()
			if peak := most(); peak > mostMemory {
				t.Errorf("%d MiB resident", peak)
			}
		})
	}
}

// H5: a sealed blob that a client sends hundreds of times unpacks on the request's account.
func TestSealedRepeated(t *testing.T) {
	g := begin(t, managed)
	key, good := g.mint(`{"label":"a"}`), g.mint(`{"label":"good"}`)
	long := strings.Repeat("thinking about it again and again. ", (2<<20)/35)
	g.up.answers(func(w http.ResponseWriter, _ *http.Request, body []byte) bool {
		if !bytes.Contains(body, []byte("think")) {
			return false
		}
		chat(w, body, answerText, long)
		return true
	})
	item := reasoningOf(t, g, key)
	g.up.answers(nil)
	var items []string
	for range 400 {
		items = append(items, item, `{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}`, `{"type":"function_call_output","call_id":"c","output":""}`)
	}
	body := `{"model":"m","input":[` + strings.Join(items, ",") + `,{"role":"user","content":"x"}]}`
	most, stop := g.watch(), g.canary(good)
	for _, path := range []string{"/convert", "/v1/responses", "/v1/responses/compact"} {
		for _, k := range []string{"", key, good} {
			r, err := g.ask("POST", path, body, bearer(k)...)
			if err == nil && len(r.body) >= 16<<20 {
				t.Errorf("%s: %d bytes of request have an answer of more than 16 MiB", path, len(body))
			}
			g.alive()
		}
	}
	stop()
	if peak := most(); peak > mostMemory {
		t.Errorf("%d MiB resident for %d KiB of request", peak, len(body)>>10)
	}
}

// reasoningOf has the model think, and returns the reasoning item with its encrypted_content.
func reasoningOf(t *testing.T, g *gateway, key string) string {
	t.Helper()
	r := g.must("POST", "/v1/responses", `{"model":"m","store":false,"include":["reasoning.encrypted_content"],"input":"think"}`, bearer(key)...)
	output, _ := decode(t, r.body)["output"].([]any)
	for _, o := range output {
		item, _ := o.(map[string]any)
		if item["type"] == "reasoning" && item["encrypted_content"] != nil {
			delete(item, "summary") // only what is sealed
			delete(item, "content")
			item["summary"] = []any{}
			return text(item)
		}
	}
	t.Fatalf("no sealed reasoning in %.500s", r.body)
	return ""
}

// M2: a hundred bytes recall a conversation of 8 MB; so many at one time as there is room for.
func TestChainsRecalled(t *testing.T) {
	g := begin(t, managed)
	key, good := g.mint(`{"label":"a"}`), g.mint(`{"label":"good"}`)
	id, previous := "", ""
	for range 9 { // of turns that are stored
		r := g.must("POST", "/v1/responses", `{"model":"m",`+previous+`"input":"`+strings.Repeat("long ago ", 100_000)+`"}`, bearer(key)...)
		if id, _ = decode(t, r.body)["id"].(string); r.status != 200 || id == "" {
			t.Fatalf("%d %.300s", r.status, r.body)
		}
		previous = fmt.Sprintf(`"previous_response_id":%q,`, id)
	}
	if a := g.must("GET", "/v1/responses/"+id, "", bearer(key)...); a.status != 200 {
		t.Fatalf("it is not stored: %d %.300s", a.status, a.body)
	}
	release := make(chan struct{})
	var once sync.Once
	g.up.answers(func(w http.ResponseWriter, _ *http.Request, body []byte) bool {
		if len(body) > 1<<20 {
			<-release // it is slow
		}
		return false
	})
	defer once.Do(func() { close(release) })
	g.up.take()
	most, stop := g.watch(), g.canary(good)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			_, _ = g.ask("POST", "/v1/responses", fmt.Sprintf(`{"model":"m","previous_response_id":%q,"input":"x"}`, id), bearer(key)...)
		})
	}
	time.Sleep(4 * time.Second)
	stop()
	peak := most()
	once.Do(func() { close(release) })
	wg.Wait()
	recalled := 0
	for _, s := range g.up.take() {
		if bytes.Contains(s.body, []byte("long ago long ago")) {
			recalled++
		}
	}
	if recalled == 0 {
		t.Error("no chain was recalled: the test attacks nothing")
	}
	if peak > mostMemory {
		t.Errorf("%d MiB resident for %d chains", peak, recalled)
	} else {
		t.Logf("%d MiB resident for %d chains", peak, recalled)
	}
}
