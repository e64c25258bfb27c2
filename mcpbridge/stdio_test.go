//go:build unix

package mcpbridge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

func TestStdio(t *testing.T) {
	b := begin(t, fake("fs"))
	st := b.Status()[0]
	if st.State != Ready || st.PID == 0 || st.Protocol != "2025-11-25" || st.Is != "fake 1" || st.Type != "stdio" || st.Restarts != 0 {
		t.Errorf("status %+v", st)
	}
	if slices.Contains(st.Tools, "fs_taskonly") || !slices.Contains(st.Tools, "fs_echo") {
		t.Errorf("tools %v", st.Tools)
	}
	if got := say(t, b, "fs_echo", `{"text": "hi", "n": 12345678901234567890}`); got != `{"text":"hi","n":12345678901234567890}` {
		t.Errorf("echo: %s", got)
	}
}

// Every fault of a call is a result, and the server serves on.
func TestCallFaults(t *testing.T) {
	b := begin(t, fake("s"))
	for _, c := range []struct {
		tool, text string
		failed     bool
		is         error
	}{
		{"fail", "no such file", true, nil},
		{"rpcerror", "Error: the disk is full", true, new(RPCError)},
		{"nocontent", "(no output)", false, nil},
		{"odd", "{\"type\":\"hologram\",\"depth\":3}\nplain\nknown", false, nil},
		{"structured", `{"a":1,"big":12345678901234567890}`, false, nil},
		{"badutf8", "a\ufffdb", false, nil},
		{"input", "Error: the tool asks for input from a person, which a gateway cannot give", true, new(RPCError)},
		{"nosuch", "Error: there is no such tool", true, ErrUnknownTool},
	} {
		o := run(t, b, "s_"+c.tool, "")
		if o.Text != c.text || o.Failed != c.failed || (o.Err != nil) != (c.is != nil) {
			t.Errorf("%s: %q failed %v, %v", c.tool, o.Text, o.Failed, o.Err)
		}
		if rpc, ok := errors.AsType[*RPCError](o.Err); ok && c.tool == "rpcerror" && rpc.Code != -32099 {
			t.Errorf("the code is lost: %v", rpc)
		}
	}
	o := run(t, b, "s_pieces", "")
	want := "one\n[image image/png, 8 bytes of base64, not shown]\n[audio audio/wav, 4 bytes of base64, not shown]\n[resource file:///a]\ninside\n[resource of unknown type, 4 bytes of base64, not shown]\n[resource c: file:///c]"
	if o.Text != want {
		t.Errorf("pieces: %s", o.Text)
	}
	if len(o.Content) != 6 || o.Content[1].Data != "aGVsbG8=" || o.Content[3].Text != "inside" || o.Content[4].URI != "file:///b" {
		t.Errorf("content %+v", o.Content)
	}
	if st := b.Status()[0]; st.Restarts != 0 {
		t.Errorf("restarted %d times", st.Restarts)
	}
}

// What a server asks is answered: a ping with {}, all else with "method not found".
func TestServerRequests(t *testing.T) {
	b := begin(t, fake("s"))
	lines := strings.Split(say(t, b, "s_ask", ""), "\n")
	want := []string{
		`{"jsonrpc":"2.0","id":1,"result":{}}`,
		`{"jsonrpc":"2.0","id":"r","error":{"code":-32601,"message":"this client does not support roots/list"}}`,
		`{"jsonrpc":"2.0","id":3,"error":{"code":-32601,"message":"this client does not support sampling/createMessage"}}`,
		`{"jsonrpc":"2.0","id":4,"error":{"code":-32601,"message":"this client does not support elicitation/create"}}`,
		`{"jsonrpc":"2.0","id":5,"error":{"code":-32601,"message":"this client does not support x/y"}}`,
	}
	if !slices.Equal(lines, want) {
		t.Errorf("answers:\n%s", strings.Join(lines, "\n"))
	}
	// 100 000 pings: neither a goroutine each, nor a stop.
	before := runtime.NumGoroutine()
	say(t, b, "s_pings", "")
	most := 0
	for range 20 {
		time.Sleep(10 * time.Millisecond)
		most = max(most, runtime.NumGoroutine())
	}
	if most > before+20 {
		t.Errorf("%d goroutines before, %d then", before, most)
	}
	say(t, b, "s_echo", "")
	if st := b.Status()[0]; st.Restarts != 0 {
		t.Error("the child, which was only slow to read, was replaced")
	}
}

// Test 11: a child that dies in a call gives a result at once, comes back, and leaves no zombie.
func TestCrash(t *testing.T) {
	b := begin(t, fake("s"))
	first := b.Status()[0].PID
	began := time.Now()
	o := run(t, b, "s_crash", "")
	if !errors.Is(o.Err, ErrLost) || !strings.Contains(o.Err.Error(), "exit status 5; last words: panic: out of cheese") {
		t.Errorf("error %v", o.Err)
	}
	if strings.Contains(o.Text, "cheese") || o.Took > 2*time.Second || time.Since(began) > 2*time.Second {
		t.Errorf("text %q after %v", o.Text, o.Took)
	}
	// The next call waits for the next child, and finds it.
	eventually(t, "a session that sees the tools again", func() bool {
		return slices.Contains(b.Status()[0].Tools, "s_echo")
	})
	say(t, b, "s_echo", "")
	if st := b.Status()[0]; st.PID == first || st.Restarts != 1 {
		t.Errorf("status %+v", st)
	}
	for _, pid := range children(t) {
		if pid == first {
			t.Error("the dead child is a zombie")
		}
	}
}

// A call made with a session's list, after the child has died, waits for the next child and runs there, once.
func TestCallAfterDeath(t *testing.T) {
	b := begin(t, fake("s"))
	s := session(t, b, Request{})
	if p, err := os.FindProcess(b.Status()[0].PID); err != nil || p.Kill() != nil {
		t.Fatal("cannot kill the child")
	}
	eventually(t, "death noticed", func() bool { st := b.Status()[0]; return st.State != Ready || st.Restarts == 1 })
	if o := s.Run(t.Context(), []Call{{"1", "s_echo", `{"a":1}`}}, nil)[0]; o.Failed || o.Text != `{"a":1}` {
		t.Errorf("%+v", o)
	}
}

// Test 14: none of the gateway's secrets reaches a child, what is configured does.
func TestEnvironment(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-gateway")
	t.Setenv("CHAT2RESPONSE_SECRET", "s3cret")
	t.Setenv("PASSED_ON", "yes")
	t.Setenv("LANG", "C.UTF-8")
	s := fake("s")
	s.Env["OWN"], s.Env["HOME"] = "1", "/nowhere"
	s.EnvVars = []string{"PASSED_ON"}
	s.Unset = []string{"LANG"}
	b := begin(t, s)
	env := strings.Split(say(t, b, "s_env", ""), "\n")
	for _, want := range []string{"OWN=1", "HOME=/nowhere", "PASSED_ON=yes", "PATH=" + os.Getenv("PATH")} {
		if !slices.Contains(env, want) {
			t.Errorf("no %s", want)
		}
	}
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if !slices.Contains(inherited, name) && !slices.Contains([]string{"OWN", "PASSED_ON", "PWD", "GORACE"}, name) || name == "LANG" {
			t.Errorf("the child sees %s", e)
		}
	}
}

// Test 15: what floods is bounded in memory and time, and does not touch other servers.
func TestFloods(t *testing.T) {
	b := begin(t, fake("bad"), fake("good"))
	for _, tool := range []string{"bigline", "flood"} {
		eventually(t, "bad is back", func() bool { return slices.Contains(b.Status()[0].Tools, "bad_echo") })
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		began := time.Now()
		o := run(t, b, "bad_"+tool, "")
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		if !errors.Is(o.Err, ErrLost) {
			t.Errorf("%s: %v", tool, o.Err)
		}
		allocated := (after.TotalAlloc - before.TotalAlloc) >> 20
		t.Logf("%s: %v, %d MiB allocated: %v", tool, took, allocated, o.Err)
		if took > 10*time.Second || allocated > 64 {
			t.Errorf("%s took %v and %d MiB", tool, took, allocated)
		}
		say(t, b, "good_echo", "")
	}
}

// A child that does not read its stdin is ended after ten seconds; until then callers wait no longer than they want to.
func TestNoReader(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	t.Parallel()
	s := fake("s", "noread")
	b := begin(t, s, fake("good"))
	big := `{"text":"` + strings.Repeat("x", 1<<20) + `"}` // more than a pipe holds
	sess := session(t, b, Request{Limits: Limits{CallTimeout: 300 * time.Millisecond}})
	began := time.Now()
	for range 3 {
		out := sess.Run(t.Context(), []Call{{"1", "s_echo", big}, {"2", "s_echo", big}, {"3", "good_echo", "{}"}}, nil)
		if !errors.Is(out[0].Err, ErrTimeout) || !errors.Is(out[1].Err, ErrTimeout) || out[2].Failed {
			t.Fatalf("%v, %v, %v", out[0].Err, out[1].Err, out[2].Text)
		}
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("three calls of 300 ms took %v", took)
	}
	end := time.Now().Add(15 * time.Second)
	for b.Status()[1].Restarts == 0 {
		if time.Now().After(end) {
			t.Fatal("the child was not replaced")
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("replaced after %v", time.Since(began))
}

func TestStartFaults(t *testing.T) {
	closing := fake("closing", "closestdout")
	dying := fake("dying", "die")
	dying.Env["MY_TOKEN"] = "tok-12345678"
	slow := fake("slow", "slow=3000")
	slow.StartTimeout = 300 * time.Millisecond
	old := fake("old", "version=2024-10-07")
	missing := ServerConfig{Name: "missing", Command: "no-such-program-here"}
	endless := fake("pages", "page=1", "endless")
	o, logs := options(t)
	o.Backoff = func(int) time.Duration { return time.Hour }
	b := beginWith(t, o, closing, dying, slow, old, missing, endless)
	want := map[string]string{
		"closing": "closed its stdout",
		"dying":   "exit status 3; last words: fatal: missing API key [redacted]",
		"slow":    "has not answered within 300ms; startup_timeout_sec gives it more time",
		"old":     "2024-10-07",
		"missing": `cannot run "no-such-program-here"`,
		"pages":   "too long",
	}
	for _, st := range b.Status() {
		if st.State != Backoff || !strings.Contains(st.Error, want[st.Name]) || len(st.Tools) != 0 {
			t.Errorf("%s: %s %q", st.Name, st.State, st.Error)
		}
	}
	for _, e := range logs.All() {
		if strings.Contains(fmt.Sprint(e.Message, e.ContextMap()), "tok-12345678") {
			t.Errorf("a secret is in the log: %v", e.ContextMap())
		}
	}
}

func TestStartVariants(t *testing.T) {
	o, logs := options(t)
	b := beginWith(t, o, fake("chatty", "junk", "stderr"), fake("ids", "idstring"), fake("line", "stderrline"), fake("modern", "modern"),
		fake("old", "version=2024-11-05"), fake("paged", "page=4"), fake("slow", "slow=200"))
	for _, st := range b.Status() {
		if st.State != Ready || len(st.Tools) != len(fakeTools)-1 {
			t.Errorf("%s: %s with %d tools: %s", st.Name, st.State, len(st.Tools), st.Error)
			continue
		}
		if got := say(t, b, st.Name+"_echo", `{"x":1}`); got != `{"x":1}` {
			t.Errorf("%s: %s", st.Name, got)
		}
	}
	if got := b.Status()[3].Protocol; got != "2026-07-28" {
		t.Errorf("modern speaks %s", got)
	}
	if got := b.Status()[4].Protocol; got != "2024-11-05" {
		t.Errorf("old speaks %s", got)
	}
	if n := logs.FilterMessage("MCP server's stderr").Len(); n > 600 {
		t.Errorf("%d lines of 5000 logged", n)
	}
	if n := logs.FilterMessageSnippet("prints on stdout").Len(); n != 1 {
		t.Errorf("noise was reported %d times", n)
	}
}

// Everything that a child has started ends with it: when it is stopped, when it crashes, and when it will not go.
func TestGroup(t *testing.T) {
	b := begin(t, fake("s"), fake("stubborn", "stubborn"))
	forked := number10(t, say(t, b, "s_fork", ""))
	if !alive(forked) {
		t.Fatal("nothing was forked")
	}
	run(t, b, "s_crash", "")
	eventually(t, "the crashed child's child is gone", func() bool { return !alive(forked) })

	eventually(t, "s is back", func() bool { return slices.Contains(b.Status()[0].Tools, "s_fork") })
	again := number10(t, say(t, b, "s_fork", ""))
	of := number10(t, say(t, b, "stubborn_fork", ""))
	pids := []int{again, of, b.Status()[0].PID, b.Status()[1].PID}
	began := time.Now()
	stop(t, b)
	took := time.Since(began)
	for _, pid := range pids {
		eventually(t, fmt.Sprintf("%d is gone", pid), func() bool { return !alive(pid) })
	}
	if took < 2*polite || took > 2*polite+2*time.Second {
		t.Errorf("the ladder took %v", took)
	}
}

// A process that leaves the group, by a session of its own, ends with its server all the same, and so does what it has
// started itself: after a regular stop, and when the server will not go.
func TestSessionOfItsOwn(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux shows which processes those are")
	}
	b := begin(t, fake("s"), fake("stubborn", "stubborn"))
	var pids []int
	for _, name := range []string{"s_escape", "s_escape", "stubborn_escape", "s_deepescape"} {
		pids = append(pids, number10(t, say(t, b, name, "")))
	}
	for _, pid := range pids {
		if !alive(pid) {
			t.Fatalf("%v: %d does not run", pids, pid)
		}
	}
	bystander := exec.Command("sleep", "300") // a child of the gateway, and no server
	bystander.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bystander.Process.Kill(); _ = bystander.Wait() }()
	stop(t, b)
	for _, pid := range pids {
		eventually(t, fmt.Sprintf("%d is gone", pid), func() bool { return !alive(pid) })
	}
	if !alive(bystander.Process.Pid) {
		t.Error("a process that is none of the server's is gone")
	}
}

// A process that leaves the group cannot hold anything up.
func TestEscaped(t *testing.T) {
	b := begin(t, fake("s"))
	away := number10(t, say(t, b, "s_escape", ""))
	t.Cleanup(func() {
		if p, err := os.FindProcess(away); err == nil {
			_ = p.Kill()
		}
	})
	began := time.Now()
	stop(t, b)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("stopping took %v", took)
	}
}

// Test 13: kill -9 of the gateway leaves no server.
func TestKilledGateway(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux can have a child killed with its parent")
	}
	gateway := exec.Command(os.Args[0], "fake-gateway")
	out, err := gateway.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := gateway.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, s := range strings.Fields(line) {
		pids = append(pids, number10(t, s))
	}
	time.Sleep(300 * time.Millisecond) // threads of the gateway come and go
	for _, pid := range pids {
		if !alive(pid) {
			t.Fatalf("%v: %d is dead before its time", pids, pid)
		}
	}
	if err := gateway.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = gateway.Wait()
	for _, pid := range pids {
		eventually(t, fmt.Sprintf("%d is gone", pid), func() bool { return !alive(pid) })
	}
}

// fakeGateway has two children, one of which will not end by itself, and waits to be killed.
func fakeGateway([]string) {
	b, err := New(&Config{Servers: []ServerConfig{fake("a"), fake("b", "stubborn")}}, Options{})
	if err != nil {
		panic(err)
	}
	if err := b.Start(context.Background()); err != nil {
		panic(err)
	}
	_ = b.Settle(context.Background())
	var pids []string
	for _, st := range b.Status() {
		pids = append(pids, strconv.Itoa(st.PID))
	}
	fmt.Println(strings.Join(pids, " "))
	for range 50 { // threads that start and end
		go func() { runtime.LockOSThread(); time.Sleep(10 * time.Millisecond) }()
	}
	select {}
}

// A hundred bridges, one after the other: no descriptor, child or goroutine (goleak) more.
func TestOpenClose(t *testing.T) {
	n := 100
	if testing.Short() {
		n = 10
	}
	stop(t, begin(t, fake("warm")))
	fds, kids := descriptors(t), len(children(t))
	for range n {
		b := begin(t, fake("s"))
		say(t, b, "s_echo", "")
		stop(t, b)
	}
	if now := descriptors(t); now > fds {
		t.Errorf("%d descriptors before, %d after", fds, now)
	}
	if now := len(children(t)); now > kids {
		t.Errorf("%d children before, %d after", kids, now)
	}
}

func TestCancel(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cancelled")
	b := begin(t, fake("s", "cancelled="+file))
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	o := session(t, b, Request{}).Run(ctx, []Call{{"1", "s_hang", ""}}, nil)[0]
	if !errors.Is(o.Err, context.Canceled) || o.Took > time.Second || o.Text != "Error: the call was cancelled" {
		t.Errorf("%q %v after %v", o.Text, o.Err, o.Took)
	}
	eventually(t, "the server was told", func() bool {
		b, _ := os.ReadFile(file)
		return strings.Contains(string(b), "requestId")
	})
	// A call that waits for its time is cut short too.
	o = session(t, b, Request{Limits: Limits{CallTimeout: 50 * time.Millisecond}}).Run(t.Context(), []Call{{"1", "s_hang", ""}}, nil)[0]
	if !errors.Is(o.Err, ErrTimeout) || o.Text != "Error: the tool did not answer in time" {
		t.Errorf("%q %v", o.Text, o.Err)
	}
}

func TestManyCallers(t *testing.T) {
	b := begin(t, fake("s"))
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			for j := range 10 {
				want := fmt.Sprintf(`{"i":%d,"j":%d}`, i, j)
				if o := run(t, b, "s_echo", want); o.Text != want {
					t.Errorf("%s: %q %v", want, o.Text, o.Err)
				}
				b.Status()
			}
		})
	}
	wg.Wait()
}

func BenchmarkSession(b *testing.B) {
	bridge := begin(b, fake("one"), fake("two"))
	b.ReportAllocs()
	for b.Loop() {
		s, err := bridge.Session(context.Background(), Request{})
		if err != nil || len(s.tools) < 40 {
			b.Fatal(err)
		}
		s.Close()
	}
}

func BenchmarkCall(b *testing.B) {
	bridge := begin(b, fake("s"))
	b.ReportAllocs()
	c, err := bridge.servers()[0].usable(context.Background(), nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := c.call(context.Background(), "echo", jsontext.Value(`{"text":"hello"}`)); err != nil {
			b.Fatal(err)
		}
	}
}
