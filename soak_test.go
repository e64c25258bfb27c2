//go:build soak

package chat2response

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/labiium/chat2response/internal/fakeopenai"
)

// Tests that take minutes, or thousands of connections:
//
//	go test -tags soak -run Soak -timeout 0 -soak.length 30m -v .
var (
	soakLength  = flag.Duration("soak.length", 30*time.Minute, "how long TestSoak runs")
	soakStreams = flag.Int("soak.streams", 500, "how many streams TestSoak keeps open")
)

// use is what the process has of what could leak.
type use struct {
	at                        time.Time
	heap, goroutines, handles float64
}

func inUse() use {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	files, _ := os.ReadDir("/proc/self/fd")
	return use{time.Now(), float64(m.HeapAlloc+m.StackInuse) / (1 << 20), float64(runtime.NumGoroutine()), float64(len(files))}
}

// slope is the least-squares slope of a value, a minute.
func slope(list []use, value func(use) float64) float64 {
	var x, y, xx, xy float64
	for _, u := range list {
		at, v := u.at.Sub(list[0].at).Minutes(), value(u)
		x, y, xx, xy = x+at, y+v, xx+at*at, xy+at*v
	}
	n := float64(len(list))
	return (n*xy - x*y) / (n*xx - x*x)
}

// TestSoak keeps streams open in both directions, of which some end, some are left by
// their clients and some are cut, over reloads. What the process uses must not grow.
func TestSoak(t *testing.T) {
	end := time.Now().Add(*soakLength)
	var addrs []string
	for _, api := range []fakeopenai.API{fakeopenai.Chat, fakeopenai.Responses} {
		all := frames(api, "openai", "long")
		addrs = append(addrs, upstream(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "text/event-stream")
			upTo := len(all)
			if rand.IntN(10) == 0 {
				upTo = rand.IntN(upTo) // it is cut
			}
			for frame := range slices.Chunk(all[:upTo], 40) {
				if _, err := w.Write(slices.Concat(frame...)); err != nil || r.Context().Err() != nil {
					return
				}
				http.NewResponseController(w).Flush()
				time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
			}
			if upTo < len(all) {
				panic(http.ErrAbortHandler)
			}
		}))
	}
	// What was in use at a reload comes back to the old configuration's transport, and
	// stays as long as an idle connection may.
	const proxy = "transport http {\n keepalive 5s\n }\n}\n"
	site := fmt.Sprintf("@chat path /v1/chat/completions\nroute {\nchat2response @chat %s {\n mode responses\n"+proxy+"chat2response %s {\n mode chat\n"+proxy+"}", addrs[1], addrs[0])
	g := start(t, site)
	var wg sync.WaitGroup
	var mu sync.Mutex
	ends := map[string]int{}
	for i := range *soakStreams {
		wg.Go(func() {
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Millisecond)
			for time.Now().Before(end) {
				path, body := "/v1/responses", responsesBody("m", true)
				if i%2 == 0 {
					path, body = "/v1/chat/completions", chatBody("m", true)
				}
				how := soakStream(g, path, body)
				mu.Lock()
				ends[how]++
				mu.Unlock()
			}
		})
	}
	var list []use
	warm := time.Now().Add(min(5*time.Minute, *soakLength/5))
	for i := 0; time.Now().Before(end); i++ {
		time.Sleep(min(15*time.Second, *soakLength/20))
		g.load(site + fmt.Sprintf("\nrespond /%d 200", i%7))
		takeLogs()
		u := inUse()
		if t.Logf("%4.1f MiB, %5.0f goroutines, %5.0f descriptors", u.heap, u.goroutines, u.handles); u.at.After(warm) {
			list = append(list, u)
		}
	}
	wg.Wait()
	client.CloseIdleConnections()
	t.Logf("streams: %v", ends)
	memory := slope(list, func(u use) float64 { return u.heap })
	goroutines := slope(list, func(u use) float64 { return u.goroutines })
	handles := slope(list, func(u use) float64 { return u.handles })
	t.Logf("slopes a minute over %v: %.3f MiB, %.2f goroutines, %.2f descriptors", list[len(list)-1].at.Sub(list[0].at).Round(time.Second), memory, goroutines, handles)
	if *soakLength < 10*time.Minute {
		return // too short for a slope to mean anything
	}
	if memory > 1 || goroutines > 10 || handles > 10 {
		t.Error("it grows")
	}
}

// soakStream reads a stream, or leaves it, and tells how it ended.
func soakStream(g *gateway, path, body string) string {
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		return "not connected"
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	if rand.IntN(10) == 0 {
		conn.SetReadDeadline(time.Now().Add(time.Duration(rand.IntN(2000)) * time.Millisecond))
	}
	n, err := io.Copy(io.Discard, conn)
	switch {
	case err != nil:
		return "left"
	case n == 0:
		return "refused in a reload"
	}
	return "ended"
}

// TestSoakStreamsOverReloads is number 13 with a thousand streams.
func TestSoakStreamsOverReloads(t *testing.T) { reloads(t, 1000) }

// TestSoakClientLeaves is F19 with a thousand clients that leave in each direction.
func TestSoakClientLeaves(t *testing.T) {
	for _, d := range directions {
		t.Run(d.name, func(t *testing.T) {
			took := leaves(t, d, 1000)
			slices.Sort(took)
			t.Logf("the upstream hears of it after %v (median), %v (p99), %v (longest)", took[500], took[990], took[999])
			if took[990] > 100*time.Millisecond {
				t.Error("too late")
			}
		})
	}
}

// TestSoakManyStreams is number 22 (F1): two thousand translated streams that stand open
// take 128 KiB of a gateway's resident memory each at most, and 350 MiB in all.
func TestSoakManyStreams(t *testing.T) {
	const streams = 2000
	goOn, waiting := make(chan struct{}), make(chan struct{}, streams)
	all := frames(fakeopenai.Chat, "openai", "text")
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		w.Write(slices.Concat(all[:3]...))
		http.NewResponseController(w).Flush()
		waiting <- struct{}{}
		<-goOn
		w.Write(slices.Concat(all[3:]...))
	})
	g, child := startChild(t, "chat2response "+addr+" {\n mode chat\n}")
	before := resident(t, child.Process.Pid)
	body := responsesBody("m", true)
	conns := make([]net.Conn, streams)
	for i := range conns {
		var err error
		if conns[i], err = net.Dial("tcp", g.addr); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
		fmt.Fprintf(conns[i], "POST /v1/responses HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	for range streams {
		<-waiting
	}
	time.Sleep(time.Second)
	now := resident(t, child.Process.Pid)
	each := (now - before) / streams
	t.Logf("%d KiB at first, %d KiB with %d streams, which is %d KiB for each", before, now, streams, each)
	if each > 128 || now > 350<<10 {
		t.Error("too much")
	}
	close(goOn)
	for i, c := range conns {
		c.SetReadDeadline(time.Now().Add(time.Minute))
		b, err := io.ReadAll(c)
		if err != nil || len(b) < 100 || string(b[len(b)-len("data: [DONE]\n\n\r\n0\r\n\r\n"):]) != "data: [DONE]\n\n\r\n0\r\n\r\n" {
			t.Fatalf("stream %d: %v, ends in %.100q", i, err, b[max(0, len(b)-100):])
		}
	}
}

// TestSoakOverload is the rest of F15: with twice the clients that fit, as many are
// served as at the peak, the others are turned away at once, and memory stays bounded.
func TestSoakOverload(t *testing.T) {
	const fit = 20
	answer, _ := fakeopenai.Answer(fakeopenai.Chat, "openai", "text")
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		time.Sleep(100 * time.Millisecond)
		w.Header().Set("Content-Type", "application/json")
		w.Write(answer)
	})
	g, child := startChild(t, "chat2response "+addr+" {\n mode chat\n state off\n max_bodies 3100KiB\n}")
	body := `{"model":"m","input":"` + strings.Repeat("a", 100<<10) + `"}`
	load := func(clients int) (served, refused int, p99 time.Duration) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		var shed []time.Duration
		end := time.Now().Add(5 * time.Second)
		for range clients {
			wg.Go(func() {
				for time.Now().Before(end) {
					began := time.Now()
					a := g.post("/v1/responses", body)
					took := time.Since(began)
					mu.Lock()
					switch {
					case a.status == 200:
						served++
					case a.status == 503 && a.header.Get("Retry-After") != "":
						shed = append(shed, took)
					default:
						t.Errorf("%d %v %.200s", a.status, a.err, a.body)
					}
					mu.Unlock()
					if a.status == 503 {
						time.Sleep(50 * time.Millisecond)
					}
				}
			})
		}
		wg.Wait()
		if slices.Sort(shed); len(shed) > 0 {
			p99 = shed[len(shed)*99/100]
		}
		return served, len(shed), p99
	}
	peak, none, _ := load(fit)
	served, refused, p99 := load(2 * fit)
	t.Logf("%d served at the peak (%d refused), %d with twice the clients; %d refused, after %v at p99; %d MiB resident", peak, none, served, refused, p99, resident(t, child.Process.Pid)>>10)
	if refused == 0 || float64(served) < 0.9*float64(peak) || p99 > 50*time.Millisecond || resident(t, child.Process.Pid) > 512<<10 {
		t.Error("not so")
	}
}

// resident is the resident memory of a process, in KiB.
func resident(t *testing.T, pid int) (kib int) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("there is no /proc here")
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib
		}
	}
	t.Fatalf("%s", status)
	return 0
}
