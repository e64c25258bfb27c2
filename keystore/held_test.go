package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/labiium/chat2response/keystore"
	"github.com/labiium/chat2response/store"
)

// brimful is a store whose disk can be full: it reads and does not write.
type brimful struct {
	store.Store
	full   atomic.Bool
	writes atomic.Int64
}

func (b *brimful) Swap(ctx context.Context, c store.Change) error {
	b.writes.Add(1)
	if b.full.Load() {
		return fmt.Errorf("%w: bbolt: writing keys.db: %w", store.ErrUnavailable, syscall.ENOSPC)
	}
	return b.Store.Swap(ctx, c)
}

// stored is what is in the store, past all that is held.
func stored(t *testing.T, s store.Store, id string) keystore.Record {
	t.Helper()
	raw, err := s.Get(ctx, keystore.Space, id)
	want(t, err, nil)
	var r keystore.Record
	want(t, json.Unmarshal(raw, &r), nil)
	return r
}

// A7, M11: a key that is revoked on a full disk is refused at once, and over reloads, who revokes is told that it is not
// written, and why, and it is written as soon as that can be.
func TestA7M11RevocationOnAFullDisk(t *testing.T) {
	for name, open := range backends {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zapcore.DebugLevel)
			s := &brimful{Store: open(t)}
			config := keystore.Config{
				Policy: keystore.DefaultPolicy(), Limits: keystore.NewLimits(),
				Log: zap.New(core), Audit: keystore.AuditLog(zap.New(core)),
			}
			k := newKeys(t, s, config)
			created, other := mint(t, k, keystore.GenerateRequest{}), mint(t, k, keystore.GenerateRequest{})
			refused := func(k *keystore.Keys) {
				t.Helper()
				_, err := k.Verify(ctx, *created.Token)
				want(t, err, keystore.ErrRevoked)
				want(t, k.Recheck(ctx, created.ID), keystore.ErrRevoked)
				_, err = k.Verify(ctx, *other.Token)
				want(t, err, nil)
				_, err = k.Verify(ctx, (*created.Token)[:99]+flip((*created.Token)[99]))
				want(t, err, keystore.ErrInvalidKey) // the secret comes first, as ever
			}
			s.full.Store(true)
			reply, err := k.Revoke(ctx, created.ID, me)
			want(t, err, keystore.ErrRevocationNotDurable)
			e := err.(*keystore.Error)
			if reply.Revoked || e.Status != 503 || e.Code != "revocation_not_durable" || !errors.Is(err, syscall.ENOSPC) ||
				!strings.Contains(e.Message, "until it restarts") || !strings.Contains(e.Message, "NOT written") ||
				strings.Contains(e.Message, "no space") || !strings.Contains(e.Error(), "no space left on device") {
				t.Fatalf("got %+v, %v", reply, err)
			}
			if n := logs.FilterMessageSnippet("could not be written").FilterField(zap.String("key_id", created.ID)).Len(); n != 1 {
				t.Errorf("logged %d times", n)
			}
			refused(k)
			list, err := k.List(ctx, keystore.ListRequest{Status: "revoked"})
			want(t, err, nil)
			if len(list.Keys) != 1 || list.Keys[0].ID != created.ID {
				t.Errorf("listed as revoked: %+v", list.Keys)
			}
			_, err = k.Rotate(ctx, keystore.RotateRequest{ID: created.ID}, me) // a successor would give it back
			want(t, err, keystore.ErrKeyNotActive)
			err = k.Maintain(ctx)
			if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "1 revocations") {
				t.Fatalf("maintaining says %v", err)
			}
			refused(k)

			// Another configuration, on the same store, and one on another store that has nothing to write.
			_ = k.Close()
			k = newKeys(t, s, config)
			elsewhere := newKeys(t, backends["memory"](t), config)
			refused(k)
			want(t, elsewhere.Maintain(ctx), nil)
			refused(k)
			if err := k.Maintain(ctx); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("maintaining says %v", err)
			}
			s.full.Store(false)
			_, err = k.SetExpiration(ctx, keystore.SetExpirationRequest{ID: created.ID, TTLSeconds: new(uint64(99))}, me)
			want(t, err, nil)
			refused(k) // a write of something else has not settled it
			want(t, k.Maintain(ctx), nil)
			refused(k)
			if r := stored(t, s, created.ID); r.RevokedAt == nil || k.Holds(created.ID) {
				t.Fatalf("stored: %+v; held: %v", r, k.Holds(created.ID))
			}
			fresh := newKeys(t, s, keystore.Config{}) // as after a restart
			refused(fresh)
			writes := s.writes.Load()
			want(t, k.Maintain(ctx), nil)
			if s.writes.Load() != writes {
				t.Error("it was written again")
			}
			if n := logs.FilterField(zap.String("actor", "timer")).FilterField(zap.String("action", "revoke")).Len(); n != 1 {
				t.Errorf("%d audit events of the timer", n)
			}
		})
	}
}

// M11: the store does not answer at all, and the record is cached.
func TestM11RevocationWhileTheStoreIsDown(t *testing.T) {
	d := newDistant(t)
	s := &brimful{Store: d}
	k := newKeys(t, remoteBrimful{s, d}, keystore.Config{Policy: keystore.DefaultPolicy(), StaleOnError: time.Minute})
	created := mint(t, k, keystore.GenerateRequest{})
	_, err := k.Verify(ctx, *created.Token)
	want(t, err, nil)
	d.fail.Store(&errDown)
	s.full.Store(true)
	_, err = k.Revoke(ctx, created.ID, me)
	want(t, err, keystore.ErrRevocationNotDurable)
	_, err = k.Verify(ctx, *created.Token)
	want(t, err, keystore.ErrRevoked)
	_, err = k.Revoke(ctx, "not an id", me)
	want(t, err, nil)
	// What never was is forgotten when the store says so.
	_, err = k.Revoke(ctx, vectorID, me)
	want(t, err, keystore.ErrRevocationNotDurable)
	d.fail.Store(nil)
	s.full.Store(false)
	want(t, k.Maintain(ctx), nil)
	if k.Holds(vectorID) || k.Holds(created.ID) || stored(t, d, created.ID).RevokedAt == nil {
		t.Error("not settled")
	}
}

// remoteBrimful is a brimful store that is a network away.
type remoteBrimful struct {
	*brimful
	remote *distant
}

func (r remoteBrimful) Watch(space string, f func(string)) func()              { return r.remote.Watch(space, f) }
func (r remoteBrimful) KeepIndexed(space string, f func([]byte) (int64, bool)) {}

// A nearer end holds in the same way; a later one, and one that was overtaken, does not.
func TestM11NearerEndOnAFullDisk(t *testing.T) {
	c := newClock()
	s := &brimful{Store: backends["memory"](t)}
	k := newKeys(t, s, keystore.Config{Policy: keystore.DefaultPolicy(), Now: c.now})
	set := func(id string, ttl uint64) error {
		_, err := k.SetExpiration(ctx, keystore.SetExpirationRequest{ID: id, TTLSeconds: &ttl}, me)
		return err
	}
	verify := func(created keystore.Created, sentinel error) {
		t.Helper()
		_, err := k.Verify(ctx, *created.Token)
		want(t, err, sentinel)
		want(t, k.Recheck(ctx, created.ID), sentinel)
	}
	one, two := mint(t, k, keystore.GenerateRequest{}), mint(t, k, keystore.GenerateRequest{})
	three := mint(t, k, keystore.GenerateRequest{})
	s.full.Store(true)
	want(t, set(one.ID, 9999), keystore.ErrStoreUnavailable) // later than its own
	if k.Holds(one.ID) {
		t.Fatal("a later end is held")
	}
	for _, created := range []keystore.Created{one, two, three} {
		want(t, set(created.ID, 10), keystore.ErrExpirationNotDurable)
		verify(created, nil)
	}
	c.advance(10 * time.Second)
	for _, created := range []keystore.Created{one, two, three} {
		verify(created, keystore.ErrExpired)
	}
	s.full.Store(false)
	want(t, set(two.ID, 50), nil) // a later word of the administrator's
	verify(two, nil)
	elsewhere := newKeys(t, s, keystore.Config{Policy: keystore.DefaultPolicy(), Now: c.now}) // the same, on another gateway
	_, err := elsewhere.SetExpiration(ctx, keystore.SetExpirationRequest{ID: three.ID, TTLSeconds: new(uint64(60))}, me)
	want(t, err, nil)
	verify(three, keystore.ErrExpired) // not known here yet
	want(t, k.Maintain(ctx), nil)
	verify(one, keystore.ErrExpired)
	verify(three, nil)
	if r := stored(t, s, one.ID); *r.ExpiresAt != uint64(c.now().Unix()) {
		t.Errorf("stored: %d", *r.ExpiresAt)
	}
	if r := stored(t, s, three.ID); *r.ExpiresAt != uint64(c.now().Unix())+60 {
		t.Errorf("stored: %d", *r.ExpiresAt)
	}
	// A revocation is more than an end.
	s.full.Store(true)
	want(t, set(two.ID, 5), keystore.ErrExpirationNotDurable)
	_, err = k.Revoke(ctx, two.ID, me)
	want(t, err, keystore.ErrRevocationNotDurable)
	want(t, set(two.ID, 3), keystore.ErrExpirationNotDurable)
	verify(two, keystore.ErrRevoked)
	s.full.Store(false)
	want(t, k.Maintain(ctx), nil)
	if stored(t, s, two.ID).RevokedAt == nil {
		t.Error("the revocation was not written")
	}
}

// What is held is bounded, and who comes too late is told that the key goes on.
func TestM11HeldIsBounded(t *testing.T) {
	s := &brimful{Store: backends["memory"](t)}
	k := newKeys(t, s, keystore.Config{Policy: keystore.DefaultPolicy()})
	// Records are needed only for the last one; a store that reads nothing holds the rest.
	created := mint(t, k, keystore.GenerateRequest{})
	d := newDistant(t)
	d.fail.Store(&errDown)
	limits := keystore.NewLimits()
	down := newKeys(t, d, keystore.Config{Limits: limits})
	for i := range keystore.MaxHeld {
		_, err := down.Revoke(ctx, fmt.Sprintf("%032x", i), me)
		want(t, err, keystore.ErrRevocationNotDurable)
	}
	_, err := down.Revoke(ctx, fmt.Sprintf("%032x", 7), me) // again is no more
	want(t, err, keystore.ErrRevocationNotDurable)
	shared := newKeys(t, s, keystore.Config{Limits: limits})
	s.full.Store(true)
	_, err = shared.Revoke(ctx, created.ID, me)
	want(t, err, keystore.ErrStoreUnavailable)
	if !strings.Contains(err.(*keystore.Error).Message, "goes on working") {
		t.Errorf("got %v", err)
	}
	_, err = shared.Verify(ctx, *created.Token)
	want(t, err, nil)
	s.full.Store(false)
	_, err = shared.Revoke(ctx, created.ID, me)
	want(t, err, nil)
}
