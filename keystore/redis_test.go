package keystore_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/labiium/chat2response/keystore"
	"github.com/labiium/chat2response/store"
	"github.com/labiium/chat2response/store/storetest"
)

// node is one gateway: its own connections to a Redis, perhaps through a proxy.
func node(t testing.TB, addr string, c keystore.Config) (*keystore.Keys, store.Store) {
	t.Helper()
	name := fmt.Sprintf("n%d", rand.Uint32()) // another name is another store, as in another process
	s := openStore(t, &store.Redis{URL: "redis://" + addr + "?client_name=" + name})
	return newKeys(t, s, c), s
}

var byDefault = keystore.Config{Policy: keystore.DefaultPolicy()}

// Keys that the original has minted, in a Redis that only the original has written to: listed and verified, unchanged.
func TestRedisOfTheOriginal(t *testing.T) {
	r := storetest.StartRedis(t)
	want(t, r.Client.Set(ctx, "chat2response:keys:"+vectorID, vectorRecord, 0).Err(), nil)
	k, _ := node(t, r.Addr, byDefault)
	_, err := k.Verify(ctx, vectorToken)
	want(t, err, nil)
	within(t, 3*time.Second, func() bool {
		list, err := k.List(ctx, keystore.ListRequest{})
		want(t, err, nil)
		return len(list.Keys) == 1 && list.Keys[0].ID == vectorID && list.Keys[0].CreatedAt == 1757379600
	})
	if got := r.Client.Get(ctx, "chat2response:keys:"+vectorID).Val(); got != vectorRecord {
		t.Fatalf("the record was changed to %s", got)
	}
	created := mint(t, k, keystore.GenerateRequest{})
	if r.Client.Exists(ctx, "chat2response:keys:"+created.ID).Val() != 1 {
		t.Fatal("a key of ours is not where the original looks")
	}
	if ttl := r.Client.TTL(ctx, "chat2response:keys:"+created.ID).Val(); ttl != -1 {
		t.Fatalf("a living key has the TTL %s", ttl)
	}
	_, err = k.Revoke(ctx, created.ID, me)
	want(t, err, nil)
	if ttl := r.Client.TTL(ctx, "chat2response:keys:"+created.ID).Val(); ttl < 29*24*time.Hour || ttl > 30*24*time.Hour {
		t.Fatalf("a dead key has the TTL %s; want 30 days", ttl)
	}
}

func within(t testing.TB, limit time.Duration, f func() bool) {
	t.Helper()
	for begun := time.Now(); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > limit {
			t.Fatalf("not within %s", limit)
		}
	}
}

func TestRedisRevokeRacesSetExpiration(t *testing.T) {
	r := storetest.StartRedis(t)
	a, _ := node(t, r.Addr, byDefault)
	b, _ := node(t, r.Addr, byDefault)
	raceRevocation(t, a, b, 500)
}

// Revoked on one node: refused there at once, on the other within 1 s, and within 5 s when it hears nothing.
func TestRedisRevocation(t *testing.T) {
	r := storetest.StartRedis(t)
	proxy := storetest.NewProxy(t, r.Addr)
	here, _ := node(t, r.Addr, byDefault)
	there, _ := node(t, proxy.Addr, byDefault)
	heard := func(k *keystore.Keys, token string, limit time.Duration) time.Duration {
		t.Helper()
		begun := time.Now()
		within(t, limit, func() bool {
			_, err := k.Verify(ctx, token)
			if err != nil && !errors.Is(err, keystore.ErrRevoked) && !errors.Is(err, keystore.ErrStoreUnavailable) {
				t.Fatalf("verify: %v", err)
			}
			return errors.Is(err, keystore.ErrRevoked)
		})
		return time.Since(begun)
	}
	time.Sleep(300 * time.Millisecond) // both listen
	var slowest time.Duration
	for range 100 {
		created := mint(t, here, keystore.GenerateRequest{})
		_, err := there.Verify(ctx, *created.Token)
		want(t, err, nil)
		// While it is in use on this node, not one request after the reply is let in.
		stop := make(chan struct{})
		var replied atomic.Bool
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					after := replied.Load()
					if _, err := here.Verify(ctx, *created.Token); err == nil && after {
						t.Error("a revoked key was let in on its own node")
					}
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
		_, err = here.Revoke(ctx, created.ID, me)
		replied.Store(true)
		want(t, err, nil)
		slowest = max(slowest, heard(there, *created.Token, time.Second))
		close(stop)
		wg.Wait()
	}
	t.Logf("100 revocations: the other node knew within %s", slowest.Round(time.Microsecond))

	created := mint(t, here, keystore.GenerateRequest{})
	deaf, _ := node(t, proxy.Addr, byDefault)
	_, err := deaf.Verify(ctx, *created.Token)
	want(t, err, nil)
	if r.Real() { // take its subscription away for good; commands go on
		want(t, r.Client.Do(ctx, "ACL", "SETUSER", "default", "-subscribe").Err(), nil)
		want(t, r.Client.ClientKillByFilter(ctx, "TYPE", "pubsub").Err(), nil)
		time.Sleep(50 * time.Millisecond)
		_, err := deaf.Verify(ctx, *created.Token)
		want(t, err, nil)
		_, err = here.Revoke(ctx, created.ID, me)
		want(t, err, nil)
		_, err = deaf.Verify(ctx, *created.Token)
		want(t, err, nil) // it cannot know yet, or the test tests nothing
		took := heard(deaf, *created.Token, 5*time.Second)
		t.Logf("with its subscription cut: %s", took.Round(time.Millisecond))
	}
}

func TestRedisFirstUses(t *testing.T) {
	r := storetest.StartRedis(t)
	if !r.Real() {
		t.Skip("the substitute does not count commands; TestFirstUsesShareALookup does without Redis")
	}
	first, _ := node(t, r.Addr, byDefault)
	created := mint(t, first, keystore.GenerateRequest{})
	k, _ := node(t, r.Addr, byDefault)
	time.Sleep(100 * time.Millisecond)
	r.ResetCalls()
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			if _, err := k.Verify(ctx, *created.Token); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := r.Calls("get"); n > 2 || n < 1 {
		t.Fatalf("1,000 first uses made %d GETs; at most 2 are allowed", n)
	}
}

// The whole of F13: whatever happens to Redis, no valid key is called invalid, no bad one is let in, every answer comes
// within 1.1 s, and 3 s after Redis is back all is well.
func TestRedisFaults(t *testing.T) {
	r := storetest.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	proxy := storetest.NewProxy(t, r.Addr)
	direct, _ := node(t, r.Addr, byDefault)
	good := mint(t, direct, keystore.GenerateRequest{})
	revoked := mint(t, direct, keystore.GenerateRequest{})
	_, err := direct.Revoke(ctx, revoked.ID, me)
	want(t, err, nil)
	config := byDefault
	config.CacheTTL = 50 * time.Millisecond // so that it is Redis that is asked
	k, _ := node(t, proxy.Addr, config)

	down := *outage
	if testing.Short() {
		down = 1500 * time.Millisecond
	}
	for _, fault := range []struct {
		name string
		from func()
		to   func()
	}{
		{"latency 2 s", func() { proxy.Set(storetest.Slow) }, func() { proxy.Set(storetest.Pass) }},
		{"silence", func() { proxy.Set(storetest.Silent) }, func() { proxy.Set(storetest.Pass) }},
		{"reset", func() { proxy.Set(storetest.Reset) }, func() { proxy.Set(storetest.Pass) }},
		{"refused", func() { proxy.Set(storetest.Refuse) }, func() { proxy.Set(storetest.Pass) }},
		{"cut answers", func() { proxy.Set(storetest.Cut) }, func() { proxy.Set(storetest.Pass) }},
		{"kill -9 and restart", r.Kill, r.Start},
	} {
		t.Run(fault.name, func(t *testing.T) {
			_, err := k.Verify(ctx, *good.Token)
			want(t, err, nil)
			fault.from()
			stop := make(chan struct{})
			var slowest, answers, unavailable atomic.Int64
			var wg sync.WaitGroup
			ask := func(token string, allowed ...error) {
				begun := time.Now()
				_, err := k.Verify(ctx, token)
				answers.Add(1)
				for took := int64(time.Since(begun)); ; {
					if was := slowest.Load(); took <= was || slowest.CompareAndSwap(was, took) {
						break
					}
				}
				if errors.Is(err, keystore.ErrStoreUnavailable) {
					unavailable.Add(1)
					return
				}
				for _, a := range allowed {
					if err == a || (a != nil && errors.Is(err, a)) {
						return
					}
				}
				t.Errorf("verify: %v", err)
			}
			for range 20 {
				wg.Go(func() {
					for {
						ask(*good.Token, nil)
						ask(*revoked.Token, keystore.ErrRevoked)
						ask((*good.Token)[:99]+flip((*good.Token)[99]), keystore.ErrInvalidKey)
						ask(vectorToken, keystore.ErrInvalidKey)
						select {
						case <-stop:
							return
						case <-time.After(10 * time.Millisecond):
						}
					}
				})
			}
			time.Sleep(down)
			close(stop)
			wg.Wait()
			if unavailable.Load() == 0 {
				t.Error("the fault was not felt")
			}
			if d := time.Duration(slowest.Load()); d > 1100*time.Millisecond {
				t.Errorf("an answer took %s; at most 1.1 s is allowed", d)
			}
			fault.to()
			begun := time.Now()
			within(t, 3*time.Second, func() bool { _, err := k.Verify(ctx, *good.Token); return err == nil })
			t.Logf("%d answers, %d of them 503, slowest %s; healed after %s", answers.Load(), unavailable.Load(),
				time.Duration(slowest.Load()).Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
		})
	}
	t.Run("FLUSHALL", func(t *testing.T) { // then the keys are gone in truth
		want(t, r.Client.FlushAll(ctx).Err(), nil)
		within(t, 3*time.Second, func() bool {
			_, err := k.Verify(ctx, *good.Token)
			return errors.Is(err, keystore.ErrInvalidKey)
		})
		again := mint(t, k, keystore.GenerateRequest{})
		_, err := k.Verify(ctx, *again.Token)
		want(t, err, nil)
		list, err := k.List(ctx, keystore.ListRequest{})
		want(t, err, nil)
		if len(list.Keys) != 1 {
			t.Fatalf("listed %+v", list.Keys)
		}
	})
}

// Linearizable while connections are reset and, at the end, the server is killed (appendfsync always).
func TestRedisHistory(t *testing.T) {
	r := storetest.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	proxy := storetest.NewProxy(t, r.Addr)
	config := byDefault
	config.CacheTTL = -1 // a cache of 5 s is not linearizable, and does not say it is
	a, s := node(t, proxy.Addr, config)
	b, _ := node(t, proxy.Addr, config)
	begun := time.Now()
	answered, unknown := checkHistory(t, []*keystore.Keys{a, b}, s, opsPerClient(1_500), func(stop <-chan struct{}) {
		for i := 0; ; i++ {
			select {
			case <-stop:
				proxy.Set(storetest.Pass)
				return
			case <-time.After(time.Duration(100+rand.IntN(200)) * time.Millisecond):
			}
			switch {
			case i%4 == 3 && r.Real():
				r.Kill()
				r.Start()
			default:
				proxy.Set([]storetest.Fault{storetest.Reset, storetest.Cut, storetest.Silent}[i%3])
				time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
				proxy.Set(storetest.Pass)
			}
		}
	})
	t.Logf("%d acts answered, %d not, all in order (%s)", answered, unknown, time.Since(begun).Round(time.Millisecond))
}

// A million keys: a page stays a page.
func TestMillionKeys(t *testing.T) {
	if !*million {
		t.Skip("run with -million (a minute, 1 GiB)")
	}
	t.Run("redis", func(t *testing.T) {
		r := storetest.StartRedis(t)
		for i := 0; i < 1_000_000; {
			pipe := r.Client.Pipeline()
			for range 10_000 {
				id := fmt.Sprintf("%032x", i)
				pipe.Set(ctx, "chat2response:keys:"+id, recordOf(id, i), 0)
				pipe.ZAdd(ctx, "chat2response:idx:keys:", redis.Z{Score: float64(1_700_000_000 + i/1000), Member: id})
				i++
			}
			_, err := pipe.Exec(ctx)
			want(t, err, nil)
		}
		k, _ := node(t, r.Addr, byDefault)
		measureMillion(t, k)
	})
	t.Run("bbolt", func(t *testing.T) {
		s := backends["bbolt"](t)
		var wg sync.WaitGroup
		for w := range 512 {
			wg.Go(func() {
				for i := w; i < 1_000_000; i += 512 {
					id := fmt.Sprintf("%032x", i)
					c := store.Change{Space: keystore.Space, ID: id, New: []byte(recordOf(id, i)), Score: int64(1_700_000_000 + i/1000)}
					if err := s.Swap(ctx, c); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		measureMillion(t, newKeys(t, s, byDefault))
	})
}

func recordOf(id string, i int) string {
	return fmt.Sprintf(`{"id":"%s","label":"key %d","created_at":%d,"expires_at":null,"revoked_at":null,`+
		`"salt_hex":"000102030405060708090a0b0c0d0e0f","hash_hex":"%s","scopes":null}`, id, i, 1_700_000_000+i/1000, vectorHash)
}

func measureMillion(t *testing.T, k *keystore.Keys) {
	const rounds = 200
	begun := time.Now()
	for range rounds {
		at := rand.IntN(999_000)
		list, err := k.List(ctx, keystore.ListRequest{Limit: 100, After: fmt.Sprintf("%d.%032x", 1_700_000_000+at/1000, at)})
		want(t, err, nil)
		if len(list.Keys) != 100 || list.Keys[0].ID != fmt.Sprintf("%032x", at+1) {
			t.Fatalf("page after %d begins with %s", at, list.Keys[0].ID)
		}
	}
	page := time.Since(begun) / rounds
	token := func(i int) string { return fmt.Sprintf("sk_%032x.%s", i, vectorSecret) }
	begun = time.Now()
	for i := range 20_000 {
		_, err := k.Verify(ctx, token(i*50))
		want(t, err, nil)
	}
	cold := time.Since(begun) / 20_000
	begun = time.Now()
	for i := range 200_000 {
		_, err := k.Verify(ctx, token(i%1000*1000))
		want(t, err, nil)
	}
	t.Logf("page of 100: %s; verify: %s cold, %s warm", page, cold, time.Since(begun)/200_000)
	if page > 5*time.Millisecond {
		t.Errorf("a page of 100 takes %s; at most 5 ms is allowed", page)
	}
}

func BenchmarkVerifyRedis(b *testing.B) {
	r := storetest.StartRedis(b)
	k, _ := node(b, r.Addr, byDefault)
	created := mint(b, k, keystore.GenerateRequest{})
	b.Run("warm", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := k.Verify(ctx, *created.Token); err != nil {
				b.Fatal(err)
			}
		}
	})
	uncached := byDefault
	uncached.CacheTTL = -1
	k, _ = node(b, r.Addr, uncached)
	b.Run("uncached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := k.Verify(ctx, *created.Token); err != nil {
				b.Fatal(err)
			}
		}
	})
}
