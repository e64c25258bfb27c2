package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labiium/chat2response/keystore"
)

// strangers are connections that try invented ids until stop, each after the other with a pause of 25 ms.
func strangers(t *testing.T, k *keystore.Keys, n int) (stop func(), asked *atomic.Int64) {
	done, cancel := context.WithCancel(ctx)
	asked = new(atomic.Int64)
	var wg sync.WaitGroup
	for w := range n {
		wg.Go(func() {
			for i := 0; done.Err() == nil; i++ {
				_, err := k.Verify(done, fmt.Sprintf("sk_%016x%016x.%s", w, i, vectorSecret))
				if !errors.Is(err, keystore.ErrInvalidKey) && !errors.Is(err, keystore.ErrStoreUnavailable) {
					t.Errorf("an invented key: %v", err)
				}
				asked.Add(1)
				time.Sleep(25 * time.Millisecond)
			}
		})
	}
	return func() { cancel(); wg.Wait() }, asked
}

// M5: strangers with invented ids do not take the places of keys that are in use, whatever the store's distance.
func TestM5StrangersLeaveRoomForKeysInUse(t *testing.T) {
	for _, ttl := range []time.Duration{0, -1} {
		for _, away := range []time.Duration{0, time.Millisecond, 40 * time.Millisecond} {
			t.Run(fmt.Sprint("ttl ", ttl, ", away ", away), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d := newDistant(t)
					policy := keystore.DefaultPolicy()
					k := newKeys(t, d, keystore.Config{Policy: policy, CacheTTL: ttl})
					maker := newKeys(t, d, keystore.Config{Policy: policy})
					var good []keystore.Created
					for range 100 {
						created := mint(t, maker, keystore.GenerateRequest{})
						_, err := k.Verify(ctx, *created.Token)
						want(t, err, nil)
						good = append(good, created)
					}
					d.delay.Store(int64(away))
					time.Sleep(6 * time.Second) // what was cached is out of date
					d.most.Store(0)
					d.gets.Store(0)
					const long = 12 * time.Second
					stop, asked := strangers(t, k, 150)
					var wg sync.WaitGroup
					var uses atomic.Int64
					for i, created := range good {
						wg.Go(func() {
							time.Sleep(time.Duration(i) * 7 * time.Millisecond)
							for begun := time.Now(); time.Since(begun) < long; time.Sleep(800 * time.Millisecond) {
								uses.Add(1)
								if _, err := k.Verify(ctx, *created.Token); err != nil {
									t.Errorf("a good key: %v", err)
								}
							}
						})
					}
					wg.Wait()
					stop()
					if most := d.most.Load(); most > 64 {
						t.Errorf("%d lookups at one time; at most 64 are allowed", most)
					}
					// 1,000 at first, 200 a second, and 16 under way; the rest is of good keys.
					seconds := int64(long/time.Second) + 2
					if n, most := d.gets.Load(), uses.Load()+1000+200*seconds+16; n > most || asked.Load() < 10*most {
						t.Errorf("%d lookups; want at most %d of %d attempts", n, most, asked.Load())
					}
				})
			})
		}
	}
}

// M5: nor after a restart, if any gateway has written down the use of the key within a day.
func TestM5KeysInUseAreKnownAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDistant(t)
		maker := newKeys(t, d, keystore.Config{Policy: keystore.DefaultPolicy()})
		old := mint(t, maker, keystore.GenerateRequest{TTLSeconds: new(uint64(1e6))})
		_, err := maker.Verify(ctx, *old.Token)
		want(t, err, nil)
		want(t, maker.Maintain(ctx), nil)
		time.Sleep(25 * time.Hour)
		var good []keystore.Created
		for range 50 {
			created := mint(t, maker, keystore.GenerateRequest{TTLSeconds: new(uint64(1e6))})
			_, err := maker.Verify(ctx, *created.Token)
			want(t, err, nil)
			good = append(good, created)
		}
		want(t, maker.Maintain(ctx), nil)

		k := newKeys(t, d, keystore.Config{})
		synctest.Wait()
		d.delay.Store(int64(40 * time.Millisecond))
		stop, _ := strangers(t, k, 150)
		time.Sleep(10 * time.Second)
		for _, created := range good {
			if _, err := k.Verify(ctx, *created.Token); err != nil {
				t.Errorf("a good key: %v", err)
			}
		}
		// The one that was not used for a day is a stranger, or the test tests nothing.
		refused := false
		for range 20 {
			_, err = k.Verify(ctx, *old.Token)
			refused = refused || errors.Is(err, keystore.ErrStoreUnavailable)
			d.announce("")
		}
		if !refused {
			t.Error("a key that was never seen was not held back")
		}
		stop()
		// One that another gateway has just made is known by its announcement.
		created := mint(t, maker, keystore.GenerateRequest{})
		d.announce(created.ID)
		stop, _ = strangers(t, k, 150)
		time.Sleep(time.Second)
		_, err = k.Verify(ctx, *created.Token)
		want(t, err, nil)
		stop()
	})
}

// What finds a key is not counted: a gateway that has just started, with more keys than strangers have lookups.
func TestM5FirstUsesAreNotHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDistant(t)
		for i := range 3000 {
			put(t, d, fmt.Sprintf("%032x", i), recordOf(fmt.Sprintf("%032x", i), i))
		}
		k := newKeys(t, d, keystore.Config{})
		for i := range 3000 {
			_, err := k.Verify(ctx, fmt.Sprintf("sk_%032x.%s", i, vectorSecret))
			want(t, err, nil)
		}
	})
}

// A key in use does not wait for the store: its record is read before its time is over.
func TestM5KeysInUseAreReadAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDistant(t)
		d.delay.Store(int64(40 * time.Millisecond))
		k := newKeys(t, d, keystore.Config{Policy: keystore.DefaultPolicy()})
		created := mint(t, k, keystore.GenerateRequest{})
		_, err := k.Verify(ctx, *created.Token)
		want(t, err, nil)
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			begun := time.Now()
			_, err := k.Verify(ctx, *created.Token)
			want(t, err, nil)
			if took := time.Since(begun); took != 0 {
				t.Fatalf("a key in use waited %s", took)
			}
		}
		if n := k.CacheCounts(); n.Hits != 600 || n.Misses != 1 || n.Ahead < 20 || n.Ahead > 24 {
			t.Errorf("counted %+v", n)
		}
		// A stranger who knows the id, and not the secret, makes nothing be read ahead.
		d.announce("")
		other := mint(t, newKeys(t, d, keystore.Config{Policy: keystore.DefaultPolicy()}), keystore.GenerateRequest{})
		before := k.CacheCounts()
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			_, err := k.Verify(ctx, (*other.Token)[:99]+flip((*other.Token)[99]))
			want(t, err, keystore.ErrInvalidKey)
		}
		if n := k.CacheCounts(); n.Ahead != before.Ahead {
			t.Errorf("%d records were read ahead for nobody", n.Ahead-before.Ahead)
		}
	})
}

// However it is read ahead, a record is not believed for longer than cache_ttl, and a failing store not at all.
func TestM5ReadAheadNeverBelievesLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDistant(t)
		there := newKeys(t, d, keystore.Config{Policy: keystore.DefaultPolicy()})
		here := newKeys(t, d, keystore.Config{})
		random := rand.New(rand.NewPCG(1, 2))
		for range 200 {
			d.delay.Store(random.Int64N(int64(100 * time.Millisecond)))
			created := mint(t, there, keystore.GenerateRequest{})
			revokeAfter := time.Duration(random.Int64N(int64(12 * time.Second)))
			pause := time.Duration(random.Int64N(int64(time.Second))) + time.Millisecond
			outage := random.IntN(4) == 0
			begun := time.Now()
			var revoked time.Time
			for time.Since(begun) < 20*time.Second {
				if revoked.IsZero() && time.Since(begun) >= revokeAfter {
					_, err := there.Revoke(ctx, created.ID, me) // nobody tells here
					want(t, err, nil)
					revoked = time.Now()
					if outage {
						d.fail.Store(&errDown)
					}
				}
				asked := time.Now()
				_, err := here.Verify(ctx, *created.Token)
				if !revoked.IsZero() && asked.Sub(revoked) >= 5*time.Second && err == nil {
					t.Fatalf("believed %s after its revocation", asked.Sub(revoked))
				}
				if revoked.IsZero() && err != nil {
					t.Fatalf("a good key: %v", err)
				}
				time.Sleep(pause)
			}
			d.fail.Store(nil)
		}
	})
}
