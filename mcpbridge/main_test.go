//go:build unix

package mcpbridge

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "fake-server":
			fakeServer(os.Args[2:])
			return
		case "fake-gateway":
			fakeGateway(os.Args[2:])
			return
		}
	}
	goleak.VerifyTestMain(m)
}

// fake is a stdio server: this binary, run again. Its options are those of fakeServer.
func fake(name string, options ...string) ServerConfig {
	return ServerConfig{Name: name, Command: os.Args[0], Args: append([]string{"fake-server"}, options...), StartTimeout: 20 * time.Second,
		Env: map[string]string{"GORACE": "atexit_sleep_ms=0"}} // else a child under the race detector takes a second to end
}

// quick is a backoff for tests.
func quick(int) time.Duration { return 20 * time.Millisecond }

func options(t testing.TB) (Options, *observer.ObservedLogs) {
	core, logs := observer.New(zap.DebugLevel)
	return Options{Log: zap.New(core), Backoff: quick, Version: "test"}, logs
}

// begin starts a bridge and waits until its servers were tried.
func begin(t testing.TB, servers ...ServerConfig) *Bridge {
	t.Helper()
	o, _ := options(t)
	return beginWith(t, o, servers...)
}

func beginWith(t testing.TB, o Options, servers ...ServerConfig) *Bridge {
	t.Helper()
	b, err := New(&Config{Servers: servers}, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	if err := b.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, b) })
	if err := b.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	return b
}

func stop(t testing.TB, b *Bridge) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := b.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func session(t testing.TB, b *Bridge, r Request) *Session {
	t.Helper()
	s, err := b.Session(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// run is one call in a session of its own.
func run(t testing.TB, b *Bridge, name, arguments string) Outcome {
	t.Helper()
	s, err := b.Session(context.Background(), Request{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return s.Run(context.Background(), []Call{{"id", name, arguments}}, nil)[0]
}

// say is run for a call that must succeed.
func say(t testing.TB, b *Bridge, name, arguments string) string {
	t.Helper()
	o := run(t, b, name, arguments)
	if o.Failed || o.Err != nil {
		t.Fatalf("%s(%s): %s (%v)", name, arguments, o.Text, o.Err)
	}
	return o.Text
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return syscall.Kill(pid, 0) == nil && !strings.HasPrefix(filepath.Clean("/proc/self/stat"), "/proc")
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

// children are the processes whose parent is this one, zombies too.
func children(t testing.TB) (pids []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(all) == 0 {
		t.Skip("no /proc here")
	}
	for _, f := range all {
		stat, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		_, after, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(after); len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			pids = append(pids, pid)
		}
	}
	return pids
}

func descriptors(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc here")
	}
	return len(all)
}

func number10(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		t.Fatalf("%q is no number", s)
	}
	return n
}
