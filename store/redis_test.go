package store_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"

	"github.com/labiium/chat2response/store"
	"github.com/labiium/chat2response/store/storetest"
)

func newRedis(t testing.TB, url string) store.Store {
	return open(t, provision(t, &store.Redis{URL: url}))
}

func TestRedis(t *testing.T) {
	r := storetest.StartRedis(t)
	storetest.Run(t, func(t *testing.T) store.Store {
		r.Client.FlushAll(t.Context())
		return newRedis(t, r.URL())
	})
}

// Names are the original's.
func TestRedisNames(t *testing.T) {
	r := storetest.StartRedis(t)
	s := newRedis(t, r.URL())
	want(t, s.Swap(ctx, store.Change{Space: "keys", ID: "0123", New: []byte(`{"id":"0123"}`), Score: 7}), nil)
	names, err := r.Client.Keys(ctx, "*").Result()
	want(t, err, nil)
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "chat2response:idx:keys: chat2response:keys:0123" {
		t.Fatalf("names are %s", got)
	}
	if ttl := r.Client.PTTL(ctx, "chat2response:keys:0123").Val(); ttl != -1 {
		t.Fatalf("a value without expiry has the TTL %s", ttl)
	}
}

// Going on after a position that is not there puts it there for a moment, and no longer.
func TestRedisPagingLeavesNothing(t *testing.T) {
	r := storetest.StartRedis(t)
	s := newRedis(t, r.URL())
	for i := range 3 {
		want(t, s.Swap(ctx, store.Change{Space: "t", ID: fmt.Sprint(i), New: []byte("v"), Score: int64(i)}), nil)
	}
	for _, after := range []store.Position{{Score: 1, ID: "0"}, {Score: 1, ID: "x"}, {Score: -5, ID: "y"}, {Score: 99, ID: "2"}} {
		for _, reverse := range []bool{false, true} {
			_, err := s.List(ctx, "t", store.Page{After: after, Reverse: reverse})
			want(t, err, nil)
			got := fmt.Sprint(r.Client.ZRangeWithScores(ctx, "chat2response:idx:t:", 0, -1).Val())
			if got != "[{0 0} {1 1} {2 2}]" {
				t.Fatalf("after %v the order is %s", after, got)
			}
		}
	}
}

// Values of other programs are listed soon, those of no business of ours are not.
func TestRedisRepair(t *testing.T) {
	r := storetest.StartRedis(t)
	for i := range 2500 {
		r.Client.Set(ctx, fmt.Sprintf("chat2response:keys:%04d", i), fmt.Sprint(i%50), 0)
	}
	r.Client.Set(ctx, "chat2response:keys:bad", "none of ours", 0)
	r.Client.Set(ctx, "chat2response:keys:a:b", "9", 0)
	r.Client.Set(ctx, "chat2response:keysother:x", "9", 0)
	s := newRedis(t, r.URL())
	s.(store.Remote).KeepIndexed("keys", func(v []byte) (int64, bool) {
		var n int64
		_, err := fmt.Sscan(string(v), &n)
		return n, err == nil
	})
	var all []store.Entry
	eventually(t, 3*time.Second, func() bool {
		all = nil
		for p := (store.Page{Limit: 999}); ; p.After = all[len(all)-1].Position {
			page, err := s.List(ctx, "keys", p)
			want(t, err, nil)
			all = append(all, page...)
			if len(page) < 999 {
				break
			}
		}
		return len(all) == 2500
	})
	for i, e := range all {
		if e.Score != int64(i/50) || string(e.Value) != fmt.Sprint(e.Score) {
			t.Fatalf("entry %d is %v", i, e)
		}
	}
}

func eventually(t testing.TB, limit time.Duration, f func() bool) {
	t.Helper()
	for begun := time.Now(); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > limit {
			t.Fatalf("not within %s", limit)
		}
	}
}

// The order of a space ends with what is in it, and follows what lives longest.
func TestRedisIndexExpires(t *testing.T) {
	r := storetest.StartRedis(t)
	s := newRedis(t, r.URL())
	put := func(id string, live time.Duration) {
		c := store.Change{Space: "state:{t}", ID: id, New: []byte("v")}
		if live != 0 {
			c.Expires = time.Now().Add(live)
		}
		want(t, s.Swap(ctx, c), nil)
	}
	ttl := func() time.Duration {
		return r.Client.PTTL(ctx, "chat2response:idx:state:{t}:").Val().Round(time.Minute)
	}
	put("a", time.Hour)
	put("b", time.Minute)
	if got := ttl(); got != time.Hour {
		t.Fatalf("ttl is %s; want 1h", got)
	}
	want(t, s.Extend(ctx, "state:{t}", []string{"b"}, time.Now().Add(2*time.Hour)), nil)
	if got := ttl(); got != 2*time.Hour {
		t.Fatalf("ttl is %s; want 2h", got)
	}
	put("c", 0)
	put("d", time.Minute)
	if got := r.Client.PTTL(ctx, "chat2response:idx:state:{t}:").Val(); got != -1 {
		t.Fatalf("ttl is %s; want none", got)
	}
}

func TestRedisFeed(t *testing.T) {
	r := storetest.StartRedis(t)
	proxy := storetest.NewProxy(t, r.Addr)
	writer := newRedis(t, r.URL())
	reader := newRedis(t, "redis://"+proxy.Addr)
	heard := make(chan string, 100)
	stop := reader.(store.Remote).Watch("keys", func(id string) { heard <- id })
	next := func(limit time.Duration, want string) {
		t.Helper()
		select {
		case id := <-heard:
			if id != want {
				t.Fatalf("heard %q; want %q", id, want)
			}
		case <-time.After(limit):
			t.Fatalf("%q was not heard within %s", want, limit)
		}
	}
	write := func(id string, announce bool) {
		t.Helper()
		want(t, writer.Swap(ctx, store.Change{Space: "keys", ID: id, New: []byte("v"), Announce: announce}), nil)
	}
	next(3*time.Second, "")
	write("silent", false)
	write("one", true)
	next(time.Second, "one")
	want(t, writer.Swap(ctx, store.Change{Space: "keys", ID: "silent", Old: []byte("no"), New: []byte("w"), Announce: true}), store.ErrConflict)
	want(t, writer.Swap(ctx, store.Change{Space: "keys", ID: "one", Old: []byte("v"), Announce: true}), nil)
	next(time.Second, "one")
	for _, fault := range []storetest.Fault{storetest.Reset, storetest.Refuse, storetest.Silent} {
		proxy.Set(fault)
		write(fmt.Sprintf("during%d", fault), true)
		time.Sleep(300 * time.Millisecond)
		proxy.Set(storetest.Pass)
		next(6*time.Second, "") // changes may have been missed
		write(fmt.Sprintf("after%d", fault), true)
		next(time.Second, fmt.Sprintf("after%d", fault))
	}
	proxy.Freeze() // the connection is dead and nobody says so
	next(6*time.Second, "")
	write("thawed", true)
	next(time.Second, "thawed")
	stop()
	time.Sleep(50 * time.Millisecond)
	write("last", true)
	select {
	case id := <-heard:
		t.Fatalf("heard %q after stop", id)
	case <-time.After(200 * time.Millisecond):
	}
}

// Whatever becomes of Redis: an answer within 1.1 s that says "unavailable", never "not found", and all is well
// within 3 s of its return, without anybody's doing.
func TestRedisFaults(t *testing.T) {
	r := storetest.StartRedis(t)
	proxy := storetest.NewProxy(t, r.Addr)
	s := newRedis(t, "redis://"+proxy.Addr)
	want(t, s.Swap(ctx, store.Change{Space: "keys", ID: "a", New: []byte("v"), Score: 1}), nil)
	for name, fault := range map[string]storetest.Fault{
		"silent": storetest.Silent, "reset": storetest.Reset, "refuse": storetest.Refuse, "slow": storetest.Slow, "cut": storetest.Cut,
	} {
		t.Run(name, func(t *testing.T) {
			proxy.Set(fault)
			var slowest atomic.Int64
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					for range 4 {
						_, err := timed(&slowest, func() ([]byte, error) { return s.Get(ctx, "keys", "a") })
						if err != nil && !errors.Is(err, store.ErrUnavailable) {
							t.Errorf("get: %v", err)
						}
						_, err = timed(&slowest, func() ([]byte, error) { return s.Get(ctx, "keys", "none") })
						if err == nil || (errors.Is(err, store.ErrNotFound) && fault != storetest.Cut) {
							t.Errorf("get of nothing: %v", err)
						}
					}
				})
			}
			wg.Wait()
			if d := time.Duration(slowest.Load()); d > 1100*time.Millisecond {
				t.Errorf("an answer took %s; at most 1.1 s is allowed", d)
			}
			_, err := s.Get(ctx, "keys", "a")
			want(t, err, store.ErrUnavailable)
			want(t, s.Swap(ctx, store.Change{Space: "keys", ID: "b", New: []byte("v")}), store.ErrUnavailable)
			want(t, s.Ping(ctx), store.ErrUnavailable)
			proxy.Set(storetest.Pass)
			begun := time.Now()
			eventually(t, 3*time.Second, func() bool {
				_, err := s.Get(ctx, "keys", "a")
				return err == nil
			})
			var wg2 sync.WaitGroup
			for range 16 { // for everybody, not for one at a time
				wg2.Go(func() {
					for range 20 {
						if _, err := s.Get(ctx, "keys", "a"); err != nil {
							t.Errorf("after the fault: %v", err)
						}
					}
				})
			}
			wg2.Wait()
			t.Logf("slowest answer %s, healed after %s", time.Duration(slowest.Load()).Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
		})
	}
	t.Run("one connection lost", func(t *testing.T) { // a read is asked again, a write is not
		for range 5 {
			proxy.Set(storetest.CutOnce)
			_, err := s.Get(ctx, "keys", "a")
			want(t, err, nil)
		}
		proxy.Set(storetest.CutOnce)
		want(t, s.Swap(ctx, store.Change{Space: "keys", ID: "once", New: []byte("v")}), store.ErrUnavailable)
		_, err := s.Get(ctx, "keys", "once") // it was made, for all that
		want(t, err, nil)
	})
	t.Run("killed and started again", func(t *testing.T) {
		r.Kill()
		_, err := s.Get(ctx, "keys", "a")
		want(t, err, store.ErrUnavailable)
		r.Start()
		eventually(t, 3*time.Second, func() bool { return s.Ping(ctx) == nil })
		for range 50 { // connections of the dead one are not handed out as errors
			if _, err := s.Get(ctx, "keys", "z"); !errors.Is(err, store.ErrNotFound) {
				t.Fatalf("after the restart: %v", err)
			}
		}
	})
}

func timed(slowest *atomic.Int64, f func() ([]byte, error)) ([]byte, error) {
	begun := time.Now()
	v, err := f()
	for took := int64(time.Since(begun)); ; {
		if was := slowest.Load(); took <= was || slowest.CompareAndSwap(was, took) {
			return v, err
		}
	}
}

// A caller that leaves is told so at once, and is no reason to think ill of Redis.
func TestRedisCallerLeaves(t *testing.T) {
	r := storetest.StartRedis(t)
	proxy := storetest.NewProxy(t, r.Addr)
	s := newRedis(t, "redis://"+proxy.Addr)
	want(t, s.Ping(ctx), nil)
	proxy.Set(storetest.Silent)
	for range 10 {
		leaving, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		begun := time.Now()
		_, err := s.Get(leaving, "keys", "a")
		cancel()
		if err == nil || time.Since(begun) > 200*time.Millisecond {
			t.Fatalf("after %s: %v", time.Since(begun), err)
		}
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			leaving, cancel := context.WithCancel(ctx)
			time.AfterFunc(10*time.Millisecond, cancel)
			_, err := s.Get(leaving, "keys", "a")
			want(t, err, context.Canceled)
		})
	}
	wg.Wait()
	proxy.Set(storetest.Pass)
	if _, err := s.Get(ctx, "keys", "a"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("the breaker was opened by callers that left: %v", err)
	}
}

func TestRedisReplicas(t *testing.T) {
	r := storetest.StartRedis(t)
	if !r.Real() {
		t.Skip("the substitute has no replicas")
	}
	s := open(t, provision(t, &store.Redis{URL: r.URL(), MinReplicas: 1}))
	want(t, s.Swap(ctx, store.Change{Space: "keys", ID: "a", New: []byte("v")}), store.ErrNotDurable)
	_, err := s.Get(ctx, "keys", "a")
	want(t, err, nil) // it stands all the same
	want(t, s.Swap(ctx, store.Change{Space: "keys", ID: "a", New: []byte("v")}), store.ErrConflict)
	host, port, _ := net.SplitHostPort(r.Addr)
	replica := storetest.StartRedis(t, "--replicaof", host, port)
	eventually(t, 10*time.Second, func() bool {
		old, _ := s.Get(ctx, "keys", "a")
		return s.Swap(ctx, store.Change{Space: "keys", ID: "a", Old: old, New: append([]byte("v"), old...)}) == nil
	})
	if v := replica.Client.Get(ctx, "chat2response:keys:a").Val(); !strings.HasPrefix(v, "vv") {
		t.Fatalf("the replica has %q", v)
	}
}

func TestRedisCluster(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("no redis-server on PATH: clusters need one")
	}
	var nodes []*storetest.Redis
	for range 2 {
		nodes = append(nodes, storetest.StartRedis(t, "--cluster-enabled", "yes"))
	}
	for i, slots := range [][2]int{{0, 8191}, {8192, 16383}} {
		want(t, nodes[i].Client.ClusterAddSlotsRange(ctx, slots[0], slots[1]).Err(), nil)
	}
	host, port, _ := net.SplitHostPort(nodes[1].Addr)
	want(t, nodes[0].Client.ClusterMeet(ctx, host, port).Err(), nil)
	eventually(t, 20*time.Second, func() bool {
		for _, n := range nodes {
			info := n.Client.ClusterInfo(ctx).Val()
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:2") {
				return false
			}
		}
		return true
	})
	url := "redis+cluster://" + nodes[0].Addr + "?addr=" + nodes[1].Addr
	storetest.Run(t, func(t *testing.T) store.Store {
		for _, n := range nodes {
			n.Client.FlushAll(t.Context())
		}
		return newRedis(t, url)
	})
	t.Run("repair on every node", func(t *testing.T) {
		for i := range 100 {
			name := fmt.Sprintf("chat2response:keys:old%d", i)
			if nodes[0].Client.Set(ctx, name, "1", 0).Err() != nil {
				want(t, nodes[1].Client.Set(ctx, name, "1", 0).Err(), nil)
			}
		}
		s := newRedis(t, url)
		s.(store.Remote).KeepIndexed("keys", func([]byte) (int64, bool) { return 1, true })
		eventually(t, 5*time.Second, func() bool {
			page, err := s.List(ctx, "keys", store.Page{Limit: 1000})
			return err == nil && len(page) == 100
		})
	})
	t.Run("feed", func(t *testing.T) {
		a := newRedis(t, url)
		b := newRedis(t, url+"&client_name=b")
		heard := make(chan string, 10)
		defer a.(store.Remote).Watch("keys", func(id string) { heard <- id })()
		<-heard
		want(t, b.Swap(ctx, store.Change{Space: "keys", ID: "x", New: []byte("v"), Announce: true}), nil)
		if id := <-heard; id != "x" {
			t.Fatalf("heard %q", id)
		}
	})
}

func TestRedisSentinel(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("no redis-server on PATH: sentinels need one")
	}
	r := storetest.StartRedis(t)
	want(t, r.Client.ConfigSet(ctx, "requirepass", "hunter2").Err(), nil)
	host, port, _ := net.SplitHostPort(r.Addr)
	config := filepath.Join(t.TempDir(), "sentinel.conf")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	want(t, err, nil)
	sentinel := l.Addr().String()
	_, sentinelPort, _ := net.SplitHostPort(sentinel)
	want(t, l.Close(), nil)
	want(t, os.WriteFile(config, fmt.Appendf(nil, "port %s\nsentinel monitor mymaster %s %s 1\nsentinel auth-pass mymaster hunter2\n", sentinelPort, host, port), 0o600), nil)
	cmd := exec.Command("redis-server", config, "--sentinel")
	want(t, cmd.Start(), nil)
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	s := open(t, provision(t, &store.Redis{URL: "redis://" + sentinel + "/0?master_name=mymaster", Password: "hunter2"}))
	eventually(t, 5*time.Second, func() bool { return s.Ping(ctx) == nil })
	want(t, s.Swap(ctx, store.Change{Space: "keys", ID: "a", New: []byte("v")}), nil)
	_, err = s.Get(ctx, "keys", "a")
	want(t, err, nil)
}

func TestRedisTLS(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("no redis-server on PATH: TLS needs one")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	want(t, err, nil)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	want(t, err, nil)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	want(t, err, nil)
	dir := t.TempDir()
	cert, private := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	want(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600), nil)
	want(t, os.WriteFile(private, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600), nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	want(t, err, nil)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	want(t, l.Close(), nil)
	storetest.StartRedis(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", private, "--tls-ca-cert-file", cert, "--tls-auth-clients", "no")
	s := newRedis(t, "rediss://localhost:"+port+"?skip_verify=true")
	want(t, s.Ping(ctx), nil)
	s = newRedis(t, "rediss://localhost:"+port)
	err = s.Ping(ctx)
	want(t, err, store.ErrUnavailable) // the certificate is nobody's
	if !strings.Contains(err.Error(), "certificate") {
		t.Fatalf("got %v", err)
	}
}

func TestRedisURLs(t *testing.T) {
	for _, url := range []string{
		"redis://h", "redis://u:p@h:1/2", "rediss://h", "unix:///run/redis.sock", "unix://u:p@/run/redis.sock?db=3",
		"redis+cluster://h:1", "rediss+cluster://h:1?addr=i:2", "redis://h:1?addr=i:2", "redis://h?master_name=m", "redis://h?pool_size=3&read_timeout=2s",
	} {
		provision(t, &store.Redis{URL: url})
	}
	const secret = "hunter2"
	for _, test := range []struct{ url, why string }{
		{"", "no url"},
		{"http://h", "unknown scheme"},
		{"redis+sentinel://u:" + secret + "@h", "unknown scheme"},
		{"redis://:p%zz" + secret + "@h", "percent-encoded"},
		{"redis://u:" + secret + "@h:port", "percent-encoded"},
		{"redis://u:" + secret + "@h/notanumber", "database number"},
		{"redis://u:" + secret + "@h?nonsense=1", "nonsense"},
		{"redis://u:" + secret + "@h?max_retries=3", "max_retries is not possible"},
		{"redis+cluster://u:" + secret + "@h?read_only=true", "read_only is not possible"},
		{"redis://h?master_name=m&password=" + secret + "&route_randomly=true", "route_randomly is not possible"},
		{"redis://h?master_name=m&password=" + secret + "&db=" + secret, ""},
	} {
		m := &store.Redis{URL: test.url, PoolSize: 1, Prefix: "p:"}
		err := m.Validate()
		if err == nil || !strings.Contains(err.Error(), test.why) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v; want %q and no password", test.url, err, test.why)
		}
	}
	for _, m := range []*store.Redis{{URL: "redis://h", PoolSize: -1, Prefix: "p:"}, {URL: "redis://h", PoolSize: 10001, Prefix: "p:"},
		{URL: "redis://h", PoolSize: 1, MinReplicas: -1, Prefix: "p:"}, {URL: "redis://h", PoolSize: 1, Prefix: "a b"}} {
		if err := m.Validate(); err == nil {
			t.Errorf("%+v was accepted", m)
		}
	}
	for env, want := range map[string]int{"": 16, " 7 ": 7, "x": 0, "0": 0} {
		t.Setenv(store.PoolEnv, env)
		m := &store.Redis{URL: "redis://h"}
		err := m.Provision(caddy.Context{})
		if (err != nil) != (want == 0) || (err == nil && m.PoolSize != want) {
			t.Errorf("%s=%q: pool of %d, %v; want %d", store.PoolEnv, env, m.PoolSize, err, want)
		}
	}
}

// A clock that is half a minute off is reported by Ping; keys go by this machine's.
func TestRedisClock(t *testing.T) {
	m := miniredis.RunT(t)
	s := newRedis(t, "redis://"+m.Addr())
	want(t, s.Ping(ctx), nil)
	for _, off := range []time.Duration{-time.Minute, time.Minute} {
		m.SetTime(time.Now().Add(off))
		want(t, s.Ping(ctx), store.ErrClockSkew)
	}
	m.SetTime(time.Now().Add(10 * time.Second))
	want(t, s.Ping(ctx), nil)
}

// A wrong password is an outage with a reason, not a missing key.
func TestRedisWrongPassword(t *testing.T) {
	r := storetest.StartRedis(t)
	if !r.Real() {
		t.Skip("the substitute takes any password")
	}
	want(t, r.Client.ConfigSet(ctx, "requirepass", "right").Err(), nil)
	s := open(t, provision(t, &store.Redis{URL: r.URL(), Password: "wrong-hunter2"}))
	_, err := s.Get(ctx, "keys", "a")
	want(t, err, store.ErrUnavailable)
	if !strings.Contains(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("got %v", err)
	}
}

func BenchmarkRedis(b *testing.B) {
	r := storetest.StartRedis(b)
	s := newRedis(b, r.URL())
	pipe := r.Client.Pipeline()
	for i := range 10_000 {
		id := fmt.Sprintf("%05d", i)
		pipe.Set(ctx, "chat2response:keys:"+id, strings.Repeat("v", 400), 0)
		pipe.ZAdd(ctx, "chat2response:idx:keys:", redis.Z{Score: float64(i), Member: id})
	}
	_, err := pipe.Exec(ctx)
	want(b, err, nil)
	b.Run("get", func(b *testing.B) {
		for b.Loop() {
			_, _ = s.Get(ctx, "keys", "00001")
		}
	})
	b.Run("list100", func(b *testing.B) {
		for b.Loop() {
			_, _ = s.List(ctx, "keys", store.Page{After: store.Position{Score: 5000, ID: "05000"}})
		}
	})
	b.Run("swap", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			want(b, s.Swap(ctx, store.Change{Space: "new", ID: fmt.Sprint(b.N, "-", i), New: []byte("v")}), nil)
		}
	})
}
