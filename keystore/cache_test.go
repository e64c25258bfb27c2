package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/labiium/chat2response/keystore"
	"github.com/labiium/chat2response/store"
)

// distant is a store in memory that behaves as one that is a network away: it counts reads, can be slow or fail, and
// has a change feed that the test pulls.
type distant struct {
	store.Store
	gets   atomic.Int64
	active atomic.Int64
	most   atomic.Int64
	delay  atomic.Int64                 // of each read, in ns
	fail   atomic.Pointer[error]        // of each read
	before atomic.Pointer[func(string)] // called after the read, before its answer is given
	mu     sync.Mutex
	watch  []func(string)
}

func newDistant(t testing.TB) *distant { return &distant{Store: backends["memory"](t)} }

func (d *distant) Get(ctx context.Context, space, id string) ([]byte, error) {
	d.gets.Add(1)
	if n := d.active.Add(1); n > d.most.Load() {
		d.most.Store(n)
	}
	defer d.active.Add(-1)
	raw, err := d.Store.Get(ctx, space, id)
	if f := d.before.Load(); f != nil {
		(*f)(id)
	}
	// A timer of no time crashes Go 1.26.8 in a synctest bubble under the race detector (runtime.(*timer).modify).
	if delay := time.Duration(d.delay.Load()); delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
		}
	}
	if f := d.fail.Load(); f != nil {
		return nil, *f
	}
	return raw, err
}

func (d *distant) Watch(space string, f func(string)) func() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watch = append(d.watch, f)
	return func() {}
}

func (d *distant) KeepIndexed(string, func([]byte) (int64, bool)) {}

func (d *distant) announce(id string) {
	for _, f := range d.watch {
		f(id)
	}
}

var _ store.Remote = (*distant)(nil)

var errDown error = fmt.Errorf("%w: connection refused", store.ErrUnavailable)

func TestFirstUsesShareALookup(t *testing.T) {
	d := newDistant(t)
	created := mint(t, newKeys(t, d, keystore.Config{Policy: keystore.DefaultPolicy()}), keystore.GenerateRequest{})
	k := newKeys(t, d, keystore.Config{})
	d.gets.Store(0)
	d.delay.Store(int64(30 * time.Millisecond))
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			if _, err := k.Verify(ctx, *created.Token); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := k.CacheCounts(); n.Hits+n.Misses != 1000 || n.Misses == 0 || n.Negatives != 0 {
		t.Fatalf("counted %+v", n)
	}
	if n := d.gets.Load(); n > 2 {
		t.Fatalf("1,000 first uses made %d reads; at most 2 are allowed", n)
	}
}

// The first caller's going away is not the others' failure.
func TestLookupOutlivesItsFirstCaller(t *testing.T) {
	d := newDistant(t)
	created := mint(t, newKeys(t, d, keystore.Config{Policy: keystore.DefaultPolicy()}), keystore.GenerateRequest{})
	k := newKeys(t, d, keystore.Config{})
	d.delay.Store(int64(100 * time.Millisecond))
	gone, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = k.Verify(gone, *created.Token) })
	time.Sleep(20 * time.Millisecond)
	wg.Go(func() {
		if _, err := k.Verify(ctx, *created.Token); err != nil {
			t.Errorf("second caller: %v", err)
		}
	})
	time.Sleep(20 * time.Millisecond)
	cancel()
	wg.Wait()
}

func TestFloodOfUnknownKeys(t *testing.T) {
	d := newDistant(t)
	k := newKeys(t, d, keystore.Config{Policy: keystore.DefaultPolicy()})
	created := mint(t, k, keystore.GenerateRequest{})
	_, err := k.Verify(ctx, *created.Token)
	want(t, err, nil)
	d.delay.Store(int64(5 * time.Millisecond))
	d.most.Store(0)
	var wg sync.WaitGroup
	var refused, shed atomic.Int64
	for w := range 200 {
		wg.Go(func() {
			for i := range 100 {
				_, err := k.Verify(ctx, fmt.Sprintf("sk_%016x%016x.%s", w, i, vectorSecret))
				switch {
				case errors.Is(err, keystore.ErrInvalidKey):
					refused.Add(1)
				case errors.Is(err, keystore.ErrStoreUnavailable):
					shed.Add(1)
				default:
					t.Errorf("got %v", err)
				}
				if i%10 == 0 {
					if _, err := k.Verify(ctx, *created.Token); err != nil {
						t.Errorf("the good key: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	if most := d.most.Load(); most > 64 {
		t.Fatalf("%d lookups at one time; at most 64 are allowed", most)
	}
	if refused.Load() == 0 || shed.Load() == 0 {
		t.Fatalf("%d refused, %d shed: the test did not test", refused.Load(), shed.Load())
	}
}

func TestRevocationAndCache(t *testing.T) {
	c := newClock()
	d := newDistant(t)
	config := keystore.Config{Policy: keystore.DefaultPolicy(), Now: c.now}
	here, there := newKeys(t, d, config), newKeys(t, d, config)
	verify := func(k *keystore.Keys, token string, sentinel error) {
		t.Helper()
		_, err := k.Verify(ctx, token)
		want(t, err, sentinel)
	}

	// This node at once, another when the feed says so.
	one := mint(t, here, keystore.GenerateRequest{})
	verify(here, *one.Token, nil)
	verify(there, *one.Token, nil)
	_, err := here.Revoke(ctx, one.ID, me)
	want(t, err, nil)
	verify(here, *one.Token, keystore.ErrRevoked)
	verify(there, *one.Token, nil)
	d.announce(one.ID)
	verify(there, *one.Token, keystore.ErrRevoked)

	// Without the feed, after the TTL and not before.
	two := mint(t, here, keystore.GenerateRequest{})
	verify(there, *two.Token, nil)
	_, err = here.Revoke(ctx, two.ID, me)
	want(t, err, nil)
	c.advance(4 * time.Second)
	verify(there, *two.Token, nil)
	c.advance(time.Second)
	verify(there, *two.Token, keystore.ErrRevoked)

	// After a cut, everything is doubtful.
	three := mint(t, here, keystore.GenerateRequest{})
	verify(there, *three.Token, nil)
	_, err = here.Revoke(ctx, three.ID, me)
	want(t, err, nil)
	d.announce("")
	verify(there, *three.Token, keystore.ErrRevoked)

	// A lookup that read before the revocation and answers after it must not be kept.
	four := mint(t, here, keystore.GenerateRequest{})
	there.Verify(ctx, *two.Token)
	revoke := func(id string) {
		if id == four.ID {
			d.before.Store(nil)
			_, err := here.Revoke(ctx, four.ID, me)
			want(t, err, nil)
			d.announce(id)
		}
	}
	d.before.Store(&revoke)
	verify(there, *four.Token, nil) // it began before
	verify(there, *four.Token, keystore.ErrRevoked)

	// Expiry needs no news.
	five := mint(t, here, keystore.GenerateRequest{TTLSeconds: new(uint64(2))})
	verify(there, *five.Token, nil)
	c.advance(2 * time.Second)
	verify(there, *five.Token, keystore.ErrExpired)

	// Unknown is believed for a second, and not after the key has been made.
	verify(there, vectorToken, keystore.ErrInvalidKey)
	put(t, d, vectorID, vectorRecord)
	verify(there, vectorToken, keystore.ErrInvalidKey)
	c.advance(time.Second)
	verify(there, vectorToken, nil)
}

func TestStoreFailure(t *testing.T) {
	c := newClock()
	d := newDistant(t)
	strict := newKeys(t, d, keystore.Config{Policy: keystore.DefaultPolicy(), Now: c.now})
	lenient := newKeys(t, d, keystore.Config{Now: c.now, StaleOnError: 30 * time.Second})
	created := mint(t, strict, keystore.GenerateRequest{})
	other := mint(t, strict, keystore.GenerateRequest{})
	for _, k := range []*keystore.Keys{strict, lenient} {
		_, err := k.Verify(ctx, *created.Token)
		want(t, err, nil)
	}
	d.fail.Store(&errDown)
	check := func(k *keystore.Keys, token string, sentinel error) {
		t.Helper()
		_, err := k.Verify(ctx, token)
		want(t, err, sentinel)
	}
	check(strict, *created.Token, nil) // cached
	check(strict, *other.Token, keystore.ErrStoreUnavailable)
	check(strict, vectorToken, keystore.ErrStoreUnavailable)
	c.advance(6 * time.Second)
	check(strict, *created.Token, keystore.ErrStoreUnavailable)
	check(lenient, *created.Token, nil)
	check(lenient, *other.Token, keystore.ErrStoreUnavailable)
	c.advance(25 * time.Second)
	check(lenient, *created.Token, keystore.ErrStoreUnavailable)
	d.fail.Store(nil)
	check(strict, *created.Token, nil)
	check(lenient, *created.Token, nil)

	// A store that does not answer at all is given up after a second.
	c.advance(10 * time.Second)
	d.delay.Store(int64(time.Minute))
	begin := time.Now()
	check(strict, *created.Token, keystore.ErrStoreUnavailable)
	if took := time.Since(begin); took < 900*time.Millisecond || took > 1100*time.Millisecond {
		t.Fatalf("gave up after %s; want 1 s", took)
	}
	if _, err := keystore.New(d, keystore.Config{StaleOnError: 2 * time.Minute}); err == nil {
		t.Fatal("stale_on_error of two minutes was accepted")
	}
}

func BenchmarkVerify(b *testing.B) {
	stores := map[string]func(testing.TB) store.Store{
		"memory": backends["memory"],
		"bbolt":  backends["bbolt"],
		"cached": func(t testing.TB) store.Store { return newDistant(t) },
	}
	for name, open := range stores {
		for _, n := range []int{1, 10_000} {
			b.Run(fmt.Sprintf("%s/%dkeys", name, n), func(b *testing.B) {
				s := open(b)
				k := newKeys(b, s, keystore.Config{Policy: keystore.DefaultPolicy()})
				var tokens []string
				var wg sync.WaitGroup
				var mu sync.Mutex
				for range min(n, 64) {
					wg.Go(func() {
						for range max(1, n/64) {
							c := mint(b, k, keystore.GenerateRequest{})
							mu.Lock()
							tokens = append(tokens, *c.Token)
							mu.Unlock()
						}
					})
				}
				wg.Wait()
				for _, token := range tokens {
					_, err := k.Verify(ctx, token)
					want(b, err, nil)
				}
				b.ReportAllocs()
				b.ResetTimer()
				for i := 0; b.Loop(); i++ {
					if _, err := k.Verify(ctx, tokens[i%len(tokens)]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
