package storetest

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// Redis is a Redis for one test: the redis-server that is on PATH, else a substitute in this process.
type Redis struct {
	Addr string
	// Client is connected to it, for looking behind the store's back.
	Client *redis.Client

	t    testing.TB
	args []string
	cmd  *exec.Cmd
	mini *miniredis.Miniredis
}

// StartRedis starts an empty Redis that ends with the test. args are further arguments of redis-server, for instance
// "--appendonly", "yes".
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	r := &Redis{t: t}
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Log("no redis-server on PATH: an in-process substitute (miniredis) stands in for it")
		r.mini = miniredis.NewMiniRedis()
		if err := r.mini.Start(); err != nil {
			t.Fatal(err)
		}
		r.Addr = r.mini.Addr()
		t.Cleanup(r.tick())
	} else {
		r.Addr = freePort(t)
		_, port, _ := net.SplitHostPort(r.Addr)
		r.args = append([]string{"--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", ""}, args...)
	}
	r.Client = redis.NewClient(&redis.Options{Addr: r.Addr, MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { // before the start, which may fail
		_ = r.Client.Close()
		r.Kill()
	})
	r.Start()
	return r
}

// tick makes time pass for the substitute, which does not notice it by itself.
func (r *Redis) tick() (stop func()) {
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		last := time.Now()
		for {
			select {
			case <-ended:
				return
			case <-time.After(10 * time.Millisecond):
				now := time.Now()
				r.mini.FastForward(now.Sub(last))
				last = now
			}
		}
	}()
	return func() {
		close(ended)
		<-done
	}
}

// Real says whether it is redis-server.
func (r *Redis) Real() bool { return r.mini == nil }

// URL is what a store is given.
func (r *Redis) URL() string { return "redis://" + r.Addr + "/0" }

// Start starts it again on the same port, after Kill.
func (r *Redis) Start() {
	r.t.Helper()
	if r.mini != nil {
		_ = r.mini.Restart()
		return
	}
	r.cmd = exec.Command("redis-server", r.args...)
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	for begun := time.Now(); time.Since(begun) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
		if r.Client.Ping(context.Background()).Err() == nil {
			return
		}
	}
	r.t.Fatal("redis-server does not answer")
}

// Kill ends it without a chance to save (SIGKILL).
func (r *Redis) Kill() {
	if r.mini != nil {
		r.mini.Close()
		return
	}
	if r.cmd != nil {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
		r.cmd = nil
	}
}

// Calls is how often a command was called since the start or the last ResetCalls; -1 when that cannot be known.
func (r *Redis) Calls(command string) int {
	if r.mini != nil {
		return -1
	}
	info, err := r.Client.InfoMap(context.Background(), "commandstats").Result()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, stats := range info {
		var n int
		if s, ok := stats["cmdstat_"+command]; ok {
			if _, err := fmt.Sscanf(s, "calls=%d", &n); err == nil {
				return n
			}
		}
	}
	return 0
}

// ResetCalls begins to count anew.
func (r *Redis) ResetCalls() {
	if r.mini == nil {
		_ = r.Client.ConfigResetStat(context.Background())
	}
}

func freePort(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "127.0.0.1:" + strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}
