package keystore_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labiium/chat2response/keystore"
	"github.com/labiium/chat2response/store"
)

// listener is a request that runs under a key.
type listener struct {
	told atomic.Int64
	last atomic.Pointer[error]
	stop func()
}

func listen(t *testing.T, k *keystore.Keys, created keystore.Created) *listener {
	t.Helper()
	key, err := k.Verify(ctx, *created.Token)
	want(t, err, nil)
	return listenTo(k, key)
}

func listenTo(k *keystore.Keys, key *keystore.Key) *listener {
	l := new(listener)
	l.stop = k.Watch(key, func(err error) {
		l.told.Add(1)
		l.last.Store(&err)
	})
	return l
}

// heard checks what a request has been told so far, in a bubble.
func (l *listener) heard(t *testing.T, sentinel error) {
	t.Helper()
	synctest.Wait()
	n, last := l.told.Load(), l.last.Load()
	switch {
	case sentinel == nil && n != 0:
		t.Fatalf("told %v", *last)
	case sentinel != nil && (n != 1 || !errors.Is(*last, sentinel)):
		t.Fatalf("told %d times, %v; want %v", n, last, sentinel)
	}
}

// Low finding on Recheck: what runs under a key hears that it has ended, on a store of this process.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &brimful{Store: backends["memory"](t)}
		limits := keystore.NewLimits()
		config := keystore.Config{Policy: keystore.DefaultPolicy(), Limits: limits}
		k, next := newKeys(t, s, config), newKeys(t, s, config)                 // before and after a reload
		elsewhere := newKeys(t, openStore(t, &store.Memory{Name: "b"}), config) // of the same process

		one, two := mint(t, k, keystore.GenerateRequest{}), mint(t, k, keystore.GenerateRequest{})
		a, b, gone, c := listen(t, k, one), listen(t, k, one), listen(t, k, one), listen(t, k, two)
		d := listen(t, elsewhere, mint(t, elsewhere, keystore.GenerateRequest{}))
		gone.stop()
		time.Sleep(time.Minute)
		for _, l := range []*listener{a, b, c, d, gone} {
			l.heard(t, nil)
		}
		_, err := next.Revoke(ctx, one.ID, me) // by the new configuration, under the old
		want(t, err, nil)
		a.heard(t, keystore.ErrRevoked)
		b.heard(t, keystore.ErrRevoked)
		gone.heard(t, nil)
		c.heard(t, nil)

		// A revocation that cannot be written counts as well.
		s.full.Store(true)
		_, err = k.Revoke(ctx, two.ID, me)
		want(t, err, keystore.ErrRevocationNotDurable)
		c.heard(t, keystore.ErrRevoked)
		s.full.Store(false)
		want(t, k.Maintain(ctx), nil)

		// Between Verify and Watch.
		four := mint(t, k, keystore.GenerateRequest{})
		key, err := k.Verify(ctx, *four.Token)
		want(t, err, nil)
		_, err = k.Revoke(ctx, four.ID, me)
		want(t, err, nil)
		late := listenTo(k, key)
		late.heard(t, keystore.ErrRevoked)

		// Removed.
		five := mint(t, k, keystore.GenerateRequest{})
		l := listen(t, k, five)
		raw, err := s.Get(ctx, keystore.Space, five.ID)
		want(t, err, nil)
		want(t, s.Swap(ctx, store.Change{Space: keystore.Space, ID: five.ID, Old: raw}), nil)
		time.Sleep(5 * time.Second)
		l.heard(t, keystore.ErrInvalidKey)

		d.heard(t, nil)
		for _, l := range []*listener{a, b, c, d, late, l, gone} {
			l.stop()
			l.stop()
		}
		if n := limits.Watched(); n != 0 {
			t.Errorf("%d keys are still watched", n)
		}
	})
}

// An end that was moved nearer is told when it has come; the one that the key had is not.
func TestWatchExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, _ := inMemory(t, keystore.Config{Policy: keystore.DefaultPolicy()})
		minute := keystore.GenerateRequest{TTLSeconds: new(uint64(60))}
		under := func() (keystore.Created, *listener) {
			created := mint(t, k, minute)
			return created, listen(t, k, created)
		}
		natural, n := under()
		nearer, e := under()
		rotated, r := under()
		overlapping, o := under()
		longer, l := under()
		_, err := k.SetExpiration(ctx, keystore.SetExpirationRequest{ID: nearer.ID, TTLSeconds: new(uint64(10))}, me)
		want(t, err, nil)
		_, err = k.SetExpiration(ctx, keystore.SetExpirationRequest{ID: longer.ID, TTLSeconds: new(uint64(90))}, me)
		want(t, err, nil)
		_, err = k.Rotate(ctx, keystore.RotateRequest{ID: rotated.ID}, me)
		want(t, err, nil)
		_, err = k.Rotate(ctx, keystore.RotateRequest{ID: overlapping.ID, OverlapSeconds: 20}, me)
		want(t, err, nil)
		r.heard(t, keystore.ErrExpired)
		e.heard(t, nil)
		time.Sleep(9 * time.Second)
		e.heard(t, nil)
		time.Sleep(6 * time.Second)
		e.heard(t, keystore.ErrExpired)
		o.heard(t, nil)
		time.Sleep(10 * time.Second)
		o.heard(t, keystore.ErrExpired)
		time.Sleep(2 * time.Minute)
		n.heard(t, nil)
		l.heard(t, nil)
		want(t, k.Recheck(ctx, natural.ID), keystore.ErrExpired)
	})
}

// What another gateway does on Redis: by the change feed at once, without it within 5 s, and not on the word of a store
// that does not answer.
func TestWatchRemote(t *testing.T) {
	for _, ttl := range []time.Duration{0, -1, time.Hour} {
		t.Run(fmt.Sprint(ttl), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDistant(t)
				d.delay.Store(int64(time.Millisecond))
				there := newKeys(t, d, keystore.Config{Policy: keystore.DefaultPolicy()})
				here := newKeys(t, d, keystore.Config{CacheTTL: ttl})
				revoke := func(created keystore.Created) {
					t.Helper()
					_, err := there.Revoke(ctx, created.ID, me)
					want(t, err, nil)
				}
				under := func() (keystore.Created, *listener) {
					created := mint(t, there, keystore.GenerateRequest{})
					return created, listen(t, here, created)
				}
				one, heard := under()
				two, missed := under()
				three, silent := under()
				four, down := under()
				five, fine := under()
				time.Sleep(500 * time.Millisecond) // not at the moment of a tick
				revoke(one)
				heard.heard(t, nil)
				d.announce(one.ID)
				d.announce(five.ID)
				time.Sleep(10 * time.Millisecond)
				heard.heard(t, keystore.ErrRevoked)
				fine.heard(t, nil)

				revoke(two)
				d.announce("")
				time.Sleep(10 * time.Millisecond)
				missed.heard(t, keystore.ErrRevoked)

				revoke(three)
				time.Sleep(5*time.Second + 10*time.Millisecond)
				silent.heard(t, keystore.ErrRevoked)

				revoke(four)
				d.fail.Store(&errDown)
				d.announce(four.ID)
				time.Sleep(time.Minute)
				down.heard(t, nil)
				fine.heard(t, nil)
				d.fail.Store(nil)
				time.Sleep(5*time.Second + 10*time.Millisecond)
				down.heard(t, keystore.ErrRevoked)
				fine.heard(t, nil)

				// Dropped between Verify and Watch.
				six := mint(t, there, keystore.GenerateRequest{})
				key, err := here.Verify(ctx, *six.Token)
				want(t, err, nil)
				revoke(six)
				d.announce(six.ID)
				time.Sleep(10 * time.Millisecond)
				late := listenTo(here, key)
				time.Sleep(10 * time.Millisecond)
				late.heard(t, keystore.ErrRevoked)
			})
		})
	}
}

// One record read each 5 s for each key that is watched, however many requests run under it.
func TestWatchReadsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDistant(t)
		k := newKeys(t, d, keystore.Config{Policy: keystore.DefaultPolicy()})
		var listeners []*listener
		for range 10 {
			created := mint(t, k, keystore.GenerateRequest{})
			for range 100 {
				listeners = append(listeners, listen(t, k, created))
			}
		}
		synctest.Wait()
		d.gets.Store(0)
		time.Sleep(time.Minute + time.Second)
		if n := d.gets.Load(); n != 12*10 {
			t.Errorf("%d reads in a minute for 10 keys; want 120", n)
		}
		for _, l := range listeners {
			l.stop()
		}
		d.gets.Store(0)
		time.Sleep(time.Minute)
		if n := d.gets.Load(); n != 0 {
			t.Errorf("%d reads for nobody", n)
		}
	})
}
