package chat2response

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/labiium/chat2response/internal/fakeopenai"
)

// The numbers are those of the acceptance tests, and of the figures, of the document
// that this gateway's reliability was planned with. Others of them are elsewhere:
// 12 (F7, F8) in convert's TestStreamCuts and in TestUpstreamDiesInMidStream, 17 (F19) in
// TestClientLeaves, 21's parser in sse, 39 (F9) in the fuzz targets of each package and in
// TestSoakInputs, F6 in keystore's TestKill.

// TestCredentials is number 9: with keys of the gateway's own, nothing that a client
// sends as a credential reaches the upstream, on any lane.
func TestCredentials(t *testing.T) {
	addr, header := seen(t, fakeopenai.Chat)
	g := start(t, "chat2response "+addr+" {\n mode chat\n api_key sk-provider\n keys memory\n alias mine fake-text\n}")
	_, token := g.generate(`{"label":"x"}`)
	for path, body := range map[string]string{
		"/v1/responses": responsesBody("mine", false), "/proxy": chatBody("fake-text", false), "/v1/chat/completions": askChat,
		"/v1/embeddings": `{"model":"m","input":"x"}`,
	} {
		for _, name := range []string{"Authorization", "X-Api-Key", "Api-Key"} {
			value := token
			if name == "Authorization" {
				value = "Bearer " + token
			}
			if a := g.post(path, body, name, value, "Cookie", "session="+token, "Proxy-Authorization", "Basic "+token); a.status != 200 {
				t.Fatalf("%s, %s: %d %s", path, name, a.status, a.body)
			}
			got := header()
			if got.Get("Authorization") != "Bearer sk-provider" || strings.Contains(fmt.Sprint(got), token) || got.Get("Cookie") != "" {
				t.Errorf("%s, %s: %v", path, name, got)
			}
		}
	}
}

// TestRedirects is number 10: the question does not go where an upstream points to.
func TestRedirects(t *testing.T) {
	var elsewhere atomic.Int64
	other := upstream(t, func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
	for _, status := range []int{301, 302, 303, 307, 308} {
		addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Set-Cookie", "a=b")
			http.Redirect(w, r, "http://"+other+"/v1/chat/completions", status)
		})
		lanes := directions[:2:2]
		for _, d := range directions[:2] { // the express lanes
			d.name, d.upstream = d.name+", express", map[fakeopenai.API]fakeopenai.API{fakeopenai.Chat: fakeopenai.Responses, fakeopenai.Responses: fakeopenai.Chat}[d.upstream]
			lanes = append(lanes, d)
		}
		for _, d := range lanes {
			g := start(t, fmt.Sprintf("chat2response %s {\n mode %s\n}", addr, d.upstream))
			for _, stream := range []bool{false, true} {
				a := g.post(d.path, d.body("m", stream), "Authorization", "Bearer sk-x")
				if a.openAIError(t); a.status != 502 || a.header.Get("Location") != "" || a.header.Get("Set-Cookie") != "" {
					t.Errorf("%d, %s: %d %v", status, d.name, a.status, a.header)
				}
			}
		}
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("the other host was asked %d times", n)
	}
}

// reloads is number 13 (F4): streams go on to their ends over ten reloads, of which
// three fail, and say what they would have said; the store of keys is usable after.
func reloads(t *testing.T, streams int) {
	goOn, waiting := make(chan struct{}), make(chan struct{}, streams)
	all := frames(fakeopenai.Chat, "openai", "text")
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		w.Write(slices.Concat(all[:3]...))
		http.NewResponseController(w).Flush()
		waiting <- struct{}{}
		select {
		case <-goOn:
		case <-r.Context().Done():
		}
		for _, f := range all[3:] {
			w.Write(f)
		}
	})
	keys := filepath.Join(t.TempDir(), "keys.db")
	site := "chat2response " + addr + " {\n mode chat\n api_key sk-provider\n keys bbolt " + keys + "\n}"
	g := start(t, site)
	_, token := g.generate(`{"label":"x"}`)
	want := ""
	answers := make([]httpAnswer, streams)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			answers[i] = g.post("/v1/responses", responsesBody("fake-text", true), "Authorization", "Bearer "+token)
		})
	}
	for range streams {
		select {
		case <-waiting:
		case <-time.After(time.Minute):
			t.Error("not all streams have begun")
		}
	}
	for i := range 10 {
		switch i {
		case 2:
			if g.tryLoad("chat2response "+addr+" {\n mode chat\n keys bbolt "+filepath.Join(keys, "below-a-file.db")+"\n}") == nil {
				t.Error("keys that cannot be opened are no error")
			}
		case 5:
			if g.tryLoad("chat2response "+addr+" {\n mode chat\n api_key {env.CHAT2RESPONSE_UNSET}\n}") == nil {
				t.Error("a key that is not set is no error")
			}
		case 7:
			if g.tryLoad("chat2response { mode nonsense }") == nil {
				t.Error("nonsense is no error")
			}
		default:
			g.load("respond /" + fmt.Sprint(i) + " 200\n" + site)
		}
	}
	close(goOn)
	wg.Wait()
	for i, a := range answers {
		events := a.events()
		if a.err != nil || a.status != 200 || len(events) == 0 || events[len(events)-1].data != "[DONE]" {
			t.Fatalf("stream %d: %d %v, %d events", i, a.status, a.err, len(events))
		}
		if got := fmt.Sprint(kinds(events), text(events)); i == 0 {
			want = got
		} else if got != want {
			t.Fatalf("stream %d says\n%s\ninstead of\n%s", i, got, want)
		}
	}
	if !strings.HasSuffix(want, "How can I help you today?") || !strings.Contains(want, "response.completed") {
		t.Errorf("%s", want)
	}
	if a := g.post("/v1/responses", responsesBody("fake-text", true), "Authorization", "Bearer "+token); a.status != 200 {
		t.Errorf("the key is not usable any more: %d %s", a.status, a.body)
	}
	if _, token := g.generate(`{"label":"y"}`); token == "" {
		t.Error("no key can be made any more")
	}
}

func TestStreamsOverReloads(t *testing.T) { reloads(t, 100) }

// TestClientNeverReads is number 18: Caddy's write_idle cuts the stream, the upstream
// is left, and memory stays bounded while it sends.
func TestClientNeverReads(t *testing.T) {
	const clients = 20
	left := make(chan struct{}, clients)
	frame := bytes.Repeat(frames(fakeopenai.Chat, "openai", "text")[2], 50)
	opening := frames(fakeopenai.Chat, "openai", "text")[:2]
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		w.Write(slices.Concat(opening...))
		for {
			if _, err := w.Write(frame); err != nil || r.Context().Err() != nil {
				left <- struct{}{}
				return
			}
		}
	})
	g := start(t, "respond nothing")
	_, port, _ := net.SplitHostPort(g.addr)
	config := adapt(t, "{\n admin off\n persist_config off\n auto_https off\n storage file_system "+storageDir+"\n grace_period 5s\n log {\n output discard\n }\n"+
		"servers {\n timeouts {\n write_idle 500ms\n }\n }\n}\nhttp://:"+port+" {\n bind 127.0.0.1\n chat2response "+addr+" {\n mode chat\n }\n}")
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	watch := watchHeap()
	body := responsesBody("fake-text", true)
	for range clients {
		c, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	for range clients {
		select {
		case <-left:
		case <-time.After(30 * time.Second):
			t.Fatal("a stream was not cut")
		}
	}
	// The text of an answer is kept for its end, and some megabytes fit into sockets.
	if grown := watch(); grown > 512<<20 {
		t.Errorf("the heap has grown by %d MiB", grown>>20)
	}
}

// watchHeap follows the heap; what it returns stops that and tells by how many bytes
// it has grown at most.
func watchHeap() (stop func() int64) {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, most := int64(m.HeapAlloc), int64(0)
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, int64(m.HeapAlloc)-before)
			}
		}
	}()
	return func() int64 { close(done); <-stopped; return most }
}

// TestOneModel is number 20: what another server could read as the model is refused,
// on every lane that looks at it, and the upstream is not asked.
func TestOneModel(t *testing.T) {
	up, addr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Chat}})
	g := start(t, "chat2response {\n mode chat\n upstream allowed fake-* {\n to "+addr+"\n mode chat\n }\n to "+addr+"\n}")
	for path, rest := range map[string]string{
		"/v1/chat/completions": `"messages":[{"role":"user","content":"x"}]`, "/v1/responses": `"input":"x"`, "/proxy": `"input":"x"`,
		"/convert": `"input":"x"`, "/v1/embeddings": `"input":"x"`,
	} {
		for _, models := range []string{
			`"model":"allowed","MODEL":"forbidden"`, `"Model":"forbidden","model":"allowed"`, `"model":"allowed","model":"forbidden"`,
			`"model":"allowed","model":"allowed"`, `"model":"allowed","mod\u0065l":"forbidden"`, `"model":["allowed"]`, `"model":"allowed\ud800"`,
		} {
			if a := g.post(path, "{"+models+","+rest+"}"); a.status != 400 {
				t.Errorf("%s %s: %d %s", path, models, a.status, a.body)
			} else {
				a.openAIError(t)
			}
		}
		if a := g.post(path, `{"model":"allowed",`+rest+`} {"model":"forbidden"}`); a.status != 400 {
			t.Errorf("%s, two bodies: %d", path, a.status)
		}
	}
	if n := len(up.Requests()); n != 0 {
		t.Errorf("%d requests reached the upstream", n)
	}
}

// indented is an event with its JSON over many lines, each with its field name.
func indented(frame []byte, end string) []byte {
	var out bytes.Buffer
	for line := range strings.Lines(string(frame)) {
		data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: ")
		if !ok || data == "[DONE]" {
			out.WriteString(strings.TrimSpace(line) + end)
			continue
		}
		var pretty bytes.Buffer
		json.Indent(&pretty, []byte(data), "", "\t")
		for line := range strings.Lines(pretty.String()) {
			out.WriteString("data: " + strings.TrimSuffix(line, "\n") + end)
		}
	}
	return out.Bytes()
}

// TestFramesOfEvents is number 21: whatever an upstream puts into its events, the
// client's are those that are meant, each on one line.
func TestFramesOfEvents(t *testing.T) {
	evil := `"\r\n\r\ndata: {\"type\":\"response.completed\"}\r\nevent: x\u2028\u0085 \nid: 1\rretry: 1"`
	for _, d := range directions {
		for _, end := range []string{"\n", "\r\n", "\r"} {
			t.Run(fmt.Sprintf("%s/%q", d.name, end), func(t *testing.T) {
				addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
					io.Copy(io.Discard, r.Body)
					w.Header().Set("Content-Type", "text/event-stream")
					for _, f := range frames(d.upstream, "openai", "text") {
						f = bytes.ReplaceAll(f, []byte(`" How"`), []byte(evil))
						f = bytes.ReplaceAll(f, []byte(`" can"`), []byte(evil))
						w.Write(indented(f, end))
					}
				})
				g := start(t, fmt.Sprintf("chat2response %s {\n mode %s\n}", addr, d.upstream))
				a := g.post(d.path, d.body("fake-text", true))
				if a.err != nil || a.status != 200 {
					t.Fatalf("%d %v %s", a.status, a.err, a.body)
				}
				done := 0
				for line := range strings.Lines(a.body) {
					field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
					switch {
					case line == "\n":
					case field == "event" && (value == "error" || strings.HasPrefix(value, "response.")):
					case field == "data" && value == "[DONE]":
						done++
					case field == "data" && json.Valid([]byte(value)):
					default:
						t.Fatalf("the line %q is no part of an event", line)
					}
				}
				if strings.ContainsAny(a.body, "\r") || done != 1 {
					t.Errorf("%d ends in %q", done, a.body)
				}
				said := text(a.events())
				var want string
				json.Unmarshal([]byte(evil), &want)
				if strings.Count(said, want) < 1 {
					t.Errorf("the text is %q", said)
				}
			})
		}
	}
}

// hostile are bodies of a size that try to be dear to read.
var hostile = map[string]func(size int) string{
	"empty objects": func(n int) string { return `{"model":"m","input":[{}` + strings.Repeat(`,{}`, n/3) + `]}` },
	"nulls":         func(n int) string { return `{"model":"m","input":[null` + strings.Repeat(`,null`, n/5) + `]}` },
	"small items": func(n int) string {
		return `{"model":"m","input":[{"a":0}` + strings.Repeat(`,{"a":0}`, n/8) + `]}`
	},
	"deep":        func(n int) string { return `{"model":"m","input":` + strings.Repeat(`[`, n) },
	"long string": func(n int) string { return `{"model":"m","input":"` + strings.Repeat(`\u00e9`, n/6) + `"}` },
	"long name":   func(n int) string { return `{"model":"m","input":"x","` + strings.Repeat(`a`, n) + `":1}` },
	"names": func(n int) string {
		var b strings.Builder
		b.WriteString(`{"model":"m","input":"x"`)
		for i := 0; b.Len() < n; i++ {
			fmt.Fprintf(&b, `,"x%d":0`, i)
		}
		return b.String() + "}"
	},
	"parts": func(n int) string {
		return `{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":""}` + strings.Repeat(`,{"type":"input_text","text":""}`, n/32) + `]}]}`
	},
	"no end":  func(n int) string { return `{"model":"m","input":"` + strings.Repeat("a", n) },
	"numbers": func(n int) string { return `{"model":"m","input":"x","n":` + strings.Repeat("9", n) + `}` },
	"quotes":  func(n int) string { return `{"model":"m","input":"` + strings.Repeat(`\"\\`, n/4) + `"}` },
}

// TestHostileBodies is number 26 (F16): fifty bodies of 32 MiB at once keep within a
// GiB, and one of a mebibyte within a hundred of them.
func TestHostileBodies(t *testing.T) {
	_, addr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Chat}})
	g := start(t, "chat2response "+addr+" {\n mode chat\n}")
	names := make([]string, 0, len(hostile))
	for name, make := range hostile {
		names = append(names, name)
		body := make(1 << 20)
		watch := watchHeap()
		began := time.Now()
		a := g.post("/v1/responses", body)
		took := time.Since(began)
		if grown := watch(); grown > 100<<20 {
			t.Errorf("%s: the heap has grown by %d MiB for one", name, grown>>20)
		}
		if a.status >= 500 {
			t.Errorf("%s: %d %.300s", name, a.status, a.body)
		}
		t.Logf("%s: %d after %v", name, a.status, took)
	}
	if testing.Short() {
		return
	}
	slices.Sort(names)
	bodies := make([]string, len(names))
	for i, name := range names {
		bodies[i] = hostile[name](32<<20 - 64)
	}
	// As with GOMEMLIMIT: what counts is what is needed, not what waits to be collected.
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(int64(now.HeapAlloc) + 640<<20))
	watch := watchHeap()
	var wg sync.WaitGroup
	var busy atomic.Int64
	for i := range 50 {
		wg.Go(func() {
			r, _ := http.NewRequest(http.MethodPost, g.url+"/v1/responses", strings.NewReader(bodies[i%len(bodies)]))
			r.Header.Set("Content-Type", "application/json")
			resp, err := client.Do(r)
			if err != nil { // it was answered before all of it was sent
				busy.Add(1)
				return
			}
			resp.Body.Close()
			switch resp.StatusCode {
			case 503:
				busy.Add(1)
			case 200, 400, 413:
			default:
				t.Errorf("%s: %d", names[i%len(names)], resp.StatusCode)
			}
		})
	}
	for range 20 {
		if a := g.post("/v1/responses", responsesBody("fake-text", false)); a.status != 200 && a.status != 503 {
			t.Errorf("beside them: %d %s", a.status, a.body)
		}
	}
	wg.Wait()
	grown := watch()
	t.Logf("the heap has grown by %d MiB; %d were turned away", grown>>20, busy.Load())
	if grown > 1<<30 {
		t.Errorf("the heap has grown by %d MiB", grown>>20)
	}
	if a := g.post("/v1/responses", responsesBody("fake-text", false)); a.status != 200 {
		t.Errorf("after them: %d %s", a.status, a.body)
	}
}

// TestOverload is F15: what is too much is turned away at once, with the time to come
// again, and what was taken is answered.
func TestOverload(t *testing.T) {
	goOn, came := make(chan struct{}), make(chan struct{}, 100)
	answer, _ := fakeopenai.Answer(fakeopenai.Chat, "openai", "text")
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		came <- struct{}{}
		select {
		case <-goOn:
		case <-r.Context().Done():
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(answer)
	})
	g := start(t, "chat2response "+addr+" {\n mode chat\n max_bodies 1MiB\n}")
	body := `{"model":"m","input":"` + strings.Repeat("a", 100<<10) + `"}`
	const fit = 7 // of 100 KiB each: one address leaves room for others (H2)
	taken := make([]httpAnswer, fit)
	var wg sync.WaitGroup
	for i := range taken {
		wg.Go(func() { taken[i] = g.post("/v1/responses", body) })
	}
	for range fit {
		<-came
	}
	var slowest time.Duration
	for range fit {
		began := time.Now()
		a := g.post("/v1/responses", body)
		slowest = max(slowest, time.Since(began))
		if e := a.openAIError(t); a.status != 503 || a.header.Get("Retry-After") != "1" || e.code() != "overloaded" || !strings.Contains(e.Message, "max_bodies") {
			t.Errorf("%d %v %s", a.status, a.header, a.body)
		}
	}
	t.Logf("turned away in %v at most", slowest)
	if slowest > 5*time.Second {
		t.Errorf("turned away after %v", slowest)
	}
	// The express lane keeps no body.
	done := make(chan httpAnswer)
	go func() { done <- g.post("/v1/chat/completions", askChat) }()
	<-came
	close(goOn)
	if a := <-done; a.status != 200 {
		t.Errorf("express: %d %s", a.status, a.body)
	}
	wg.Wait()
	for _, a := range taken {
		if a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if n := requestMemory.Held(); n != 0 {
		t.Errorf("%d bytes are still taken", n)
	}
	if a := g.post("/v1/responses", body); a.status != 200 {
		t.Errorf("afterwards: %d %s", a.status, a.body)
	}
	// One alone may be larger than the limit.
	if a := g.post("/v1/responses", `{"model":"m","input":"`+strings.Repeat("a", 3<<20)+`"}`); a.status != 200 {
		t.Errorf("one alone: %d %s", a.status, a.body)
	}
}

// TestFraming is number 27: of requests whose end two servers could see in different
// places, the upstream sees one clean request or none.
func TestFraming(t *testing.T) {
	up, addr := fake(t, fakeopenai.Options{})
	body := askChat
	n := len(body)
	chunks := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", n, body)
	length := fmt.Sprintf("Content-Length: %d\r\n", n)
	const host, typ = "Host: x\r\n", "Content-Type: application/json\r\n"
	head := "POST /v1/chat/completions HTTP/1.1\r\n" + host + typ
	for name, c := range map[string]struct {
		request string
		refused bool // else one request is seen
	}{
		"plain":                    {head + length + "\r\n" + body, false},
		"chunked":                  {head + "Transfer-Encoding: chunked\r\n\r\n" + chunks, false},
		"chunked, in capitals":     {head + "Transfer-Encoding: CHUNKED\r\n\r\n" + chunks, false},
		"the same length twice":    {head + length + length + "\r\n" + body, false},
		"both":                     {head + length + "Transfer-Encoding: chunked\r\n\r\n" + chunks, false},
		"both, the length too far": {head + "Content-Length: 9999\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks, false},
		"folded header":            {head + "X-A: b\r\n c\r\n" + length + "\r\n" + body, false},
		"bare line ends":           {strings.ReplaceAll(head+length+"\r\n", "\r\n", "\n") + body, false},
		"trailers":                 {head + "Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\nAuthorization: Bearer x\r\n\r\n", n, body), false},
		"absolute form":            {strings.Replace(head, "/v1", "http://elsewhere/v1", 1) + length + "\r\n" + body, false},
		"two lengths":              {head + length + "Content-Length: 5\r\n\r\n" + body, true},
		"a list of lengths":        {head + fmt.Sprintf("Content-Length: %d, 5\r\n\r\n", n) + body, true},
		"signed length":            {head + fmt.Sprintf("Content-Length: +%d\r\n\r\n", n) + body, true},
		"negative length":          {head + "Content-Length: -1\r\n\r\n" + body, true},
		"length in hexadecimal":    {head + fmt.Sprintf("Content-Length: 0x%x\r\n\r\n", n) + body, true},
		"endless length":           {head + "Content-Length: 99999999999999999999\r\n\r\n" + body, true},
		"space before the colon":   {head + fmt.Sprintf("Content-Length : %d\r\n\r\n", n) + body, true},
		"chunked and more":         {head + "Transfer-Encoding: gzip, chunked\r\n\r\n" + chunks, true},
		"chunked twice":            {head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks, true},
		"identity":                 {head + "Transfer-Encoding: identity\r\n" + length + "\r\n" + body, true},
		"chunked with a tab":       {head + "Transfer-Encoding: \x0bchunked\r\n\r\n" + chunks, true},
		"NUL in a value":           {head + "X-A: a\x00b\r\n" + length + "\r\n" + body, true},
		"CR in a value":            {head + "X-A: a\rb\r\n" + length + "\r\n" + body, true},
		"two hosts":                {head + host + length + "\r\n" + body, true},
		"no host":                  {strings.Replace(head, host, "", 1) + length + "\r\n" + body, true},
		"chunk size too large":     {head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Replace(chunks, fmt.Sprintf("%x\r\n", n), "1"+strings.Repeat("0", 16)+"\r\n", 1), true},
		"signed chunk size":        {head + "Transfer-Encoding: chunked\r\n\r\n+" + chunks, true},
		"bare LF in an extension":  {head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Replace(chunks, "\r\n", ";a\nb\r\n", 1), true},
	} {
		for _, mode := range []string{"chat", "responses"} { // the express lane, and translated
			g := start(t, "chat2response "+addr+" {\n mode "+mode+"\n}")
			up.Reset()
			conn, err := net.Dial("tcp", g.addr)
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			// One that follows must not be taken for a part of the first, nor the other way.
			io.WriteString(conn, c.request+"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			status := 0
			if err == nil {
				status = resp.StatusCode
			}
			io.Copy(io.Discard, conn)
			conn.Close()
			posts := 0
			for _, r := range up.Requests() {
				if r.Method != http.MethodPost {
					continue
				}
				posts++
				if len(r.Header.Values("Content-Length")) > 1 || len(r.Header.Values("Transfer-Encoding")) > 1 || !json.Valid(r.Body) || r.Header.Get("Authorization") != "" {
					t.Errorf("%s to %s: the upstream saw %v %s", name, mode, r.Header, r.Body)
				}
			}
			if c.refused && (posts != 0 || status == 200) || !c.refused && (posts != 1 || status != 200) {
				t.Errorf("%s to %s: %d (%v), %d requests at the upstream", name, mode, status, err, posts)
			}
		}
	}
}

// runCaddy runs a configuration until a signal comes.
func runCaddy(file string) {
	config, err := os.ReadFile(file)
	if err == nil {
		caddy.TrapSignals()
		err = caddy.Load(config, true)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ready")
	select {}
}

// startChild starts a gateway with a site in a process of its own, with two seconds of
// grace.
func startChild(t *testing.T, site string) (*gateway, *exec.Cmd) {
	t.Helper()
	g := &gateway{t: t, addr: freeAddr(t)}
	g.url = "http://" + g.addr
	_, port, _ := net.SplitHostPort(g.addr)
	file := filepath.Join(t.TempDir(), "caddy.json")
	os.WriteFile(file, adapt(t, "{\n admin off\n persist_config off\n auto_https off\n storage file_system "+t.TempDir()+"\n grace_period 2s\n}\nhttp://:"+port+
		" {\n bind 127.0.0.1\n"+site+"\n}"), 0o600)
	child := exec.Command(os.Args[0], "caddy-run", file)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { child.Process.Kill() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q %v", line, err)
	}
	return g, child
}

// TestTerm is number 28 (F5): on SIGTERM the answers that end within the grace period
// do, the others end with a failure, and the process with 0.
func TestTerm(t *testing.T) {
	const each = 10
	stop := make(chan struct{})
	all := frames(fakeopenai.Chat, "openai", "text")
	began := make(chan struct{}, 2*each)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		w.Write(slices.Concat(all[:4]...))
		http.NewResponseController(w).Flush()
		began <- struct{}{}
		if bytes.Contains(b, []byte("endless")) {
			<-r.Context().Done()
			return
		}
		<-stop
		w.Write(slices.Concat(all[4:]...))
	}))
	t.Cleanup(up.Close)
	g, child := startChild(t, "chat2response "+up.Listener.Addr().String()+" {\n mode chat\n}")
	answers := make([]httpAnswer, 2*each)
	var wg sync.WaitGroup
	for i := range answers {
		model := "short"
		if i >= each {
			model = "endless"
		}
		wg.Go(func() { answers[i] = g.post("/v1/responses", responsesBody(model, true)) })
	}
	for range answers {
		<-began
	}
	child.Process.Signal(syscall.SIGTERM)
	told := time.Now()
	time.AfterFunc(200*time.Millisecond, func() { close(stop) })
	wg.Wait()
	if err := child.Wait(); err != nil {
		t.Errorf("the process ended with %v", err)
	}
	if took := time.Since(told); took > 20*time.Second {
		t.Errorf("the process ended after %v", took)
	} else {
		t.Logf("ended after %v", took)
	}
	for i, a := range answers {
		got := kinds(a.events())
		if i < each && (a.err != nil || !slices.Contains(got, "response.completed")) || i >= each && (count(got, "response.failed") != 1 || slices.Contains(got, "response.completed")) {
			t.Errorf("answer %d: %v %q", i, a.err, got)
		}
	}
}

// TestBombs is number 38: what a small body unpacks to does not all come into memory.
func TestBombs(t *testing.T) {
	up, addr := fake(t, fakeopenai.Options{})
	g := start(t, "chat2response "+addr+" {\n mode chat\n max_body 4MiB\n}")
	var bomb bytes.Buffer
	z, _ := gzip.NewWriterLevel(&bomb, gzip.BestCompression)
	zeros := make([]byte, 1<<20)
	for range 512 {
		z.Write(zeros)
	}
	z.Close()
	watch := watchHeap()
	if a := g.post("/v1/responses", bomb.String(), "Content-Encoding", "gzip"); a.status != 413 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if grown := watch(); grown > 32<<20 {
		t.Errorf("the heap has grown by %d MiB", grown>>20)
	}
	for _, encoding := range []string{"deflate", "gzip, gzip", "compress", "identity, gzip", "xz"} {
		if a := g.post("/v1/responses", askResponses, "Content-Encoding", encoding); a.status != 415 {
			t.Errorf("%s: %d %s", encoding, a.status, a.body)
		} else {
			a.openAIError(t)
		}
	}
	if n := len(up.Requests()); n != 0 {
		t.Errorf("%d requests reached the upstream", n)
	}
}

// TestRefusedWhileSending: a client whose connection ends with its request sees why it
// is refused, although it has not sent all of its body.
func TestRefusedWhileSending(t *testing.T) {
	_, addr := fake(t, fakeopenai.Options{})
	g := start(t, "chat2response "+addr+" {\n mode chat\n keys memory\n}")
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := `{"model":"m","input":"` + strings.Repeat("a", 200<<10) + `"}`
	fmt.Fprintf(conn, "POST /v1/responses HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:1000])
	time.Sleep(time.Second) // net/http waits half of one before it closes a connection
	for part := range slices.Chunk([]byte(body[1000:]), 50<<10) {
		if _, err := conn.Write(part); err != nil {
			t.Errorf("sending the body: %v", err)
		}
	}
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	answer, err := io.ReadAll(conn)
	if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 401")) {
		t.Errorf("%v, after %q", err, answer)
	}
}
