// Package keystore mints, verifies, limits and revokes the gateway's own API keys, on any [store.Store]. It knows
// nothing of HTTP: requests and replies are structs with the JSON names of the /keys endpoints, and every error is
// an [*Error] that carries OpenAI's status, type, code and message.
//
// Keys and records are those of the Rust chat2response, byte for byte where it matters: what it has written is read,
// what is written here it can read, and members of a record that this version does not know survive every rewrite.
package keystore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/labiium/chat2response/store"
)

// Space is where records are: in Redis chat2response:keys:<id>, as the original named them.
const Space = "keys"

// useSpace holds the time of each key's last use, apart from the records: a use must never stand in the way of a
// revocation, nor rewrite what another program has written.
const useSpace = "keyuse"

// Tombstone is how long a dead key's record is kept, so that it is listed, and answered with "revoked" or "expired"
// rather than "invalid", for a while.
const Tombstone = 30 * 24 * time.Hour

// Config is how keys are kept. The zero value is the documented default, except for Policy.
type Config struct {
	// Policy says which keys may be without an end. The zero Policy refuses them and has no default lifetime; see
	// [DefaultPolicy].
	Policy Policy
	// CacheTTL is how long a record read from a store that others write to (Redis) is believed. It is also the
	// longest that a key revoked on another node works here when the store's change feed is cut. Default: 5 s;
	// negative: each use reads the store. Stores of one process are always read.
	CacheTTL time.Duration
	// StaleOnError lets a key whose record was read not longer ago than this pass while the store does not answer.
	// Default: 0, never; at most 60 s.
	StaleOnError time.Duration
	// PurgeAfter is how long after its death a key's record is removed by Maintain. Default: [Tombstone]; negative:
	// never.
	PurgeAfter time.Duration
	// Limits counts uses; configurations that follow one another share one, or a reload would free every slot.
	// Default: its own.
	Limits *Limits
	// Audit gets every administrative act, done or refused. Default: none. See [AuditLog].
	Audit func(Event)
	// Log gets what an operator should know: unreadable records, failed write-backs. Default: none.
	Log *zap.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Keys are the keys in one store. All methods may be called at once from many goroutines.
type Keys struct {
	Config
	store      store.Store
	remote     bool   // others write to the store as well
	cache      *cache // nil unless others do and what they wrote may be believed for a while
	gate       *gate
	memo       *memo
	used       lastUsed
	news       *news
	follow     sync.Once
	background *background

	maintenance sync.Mutex
	nextPurge   time.Time
	stopWatch   func()
}

// New returns the keys in s. The caller keeps s open until after Close.
func New(s store.Store, c Config) (*Keys, error) {
	if c.StaleOnError < 0 || c.StaleOnError > time.Minute {
		return nil, fmt.Errorf("keys: stale_on_error is %s; it must be between 0 and 60s", c.StaleOnError)
	}
	if err := c.Policy.validate(); err != nil {
		return nil, err
	}
	if c.CacheTTL == 0 {
		c.CacheTTL = 5 * time.Second
	}
	if c.PurgeAfter == 0 {
		c.PurgeAfter = Tombstone
	}
	if c.Limits == nil {
		c.Limits = NewLimits()
	}
	if c.Audit == nil {
		c.Audit = func(Event) {}
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	k := &Keys{
		Config: c, store: s, gate: newGate(c.Now), memo: newMemo(), news: newNews(), background: newBackground(),
		stopWatch: func() {},
	}
	k.used.init()
	k.nextPurge = k.Now().Add(10*time.Minute + rand.N(10*time.Minute)) // nodes that start together purge apart
	if remote, ok := s.(store.Remote); ok {
		k.remote = true
		remote.KeepIndexed(Space, scoreOf)
		if c.CacheTTL > 0 {
			k.cache = newCache(k)
		}
		k.stopWatch = remote.Watch(Space, k.heard)
		k.background.start(k.recall)
	}
	return k, nil
}

// Close writes back what is not written yet, at most a second, and stops listening to the store. It does not close the
// store. Ends of keys that still cannot be written stay in Limits, for the Keys that follow on the same store.
func (k *Keys) Close() error {
	k.stopWatch()
	k.background.close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	defer k.Limits.held.leave(k)
	return errors.Join(k.writeHeld(ctx), k.flushUses(ctx))
}

// Maintain does what is due: call it once a minute. It writes revocations that the store would not take when they were
// made, or says in its error that it still does not, writes back when keys were last used, and once a day removes
// records whose keys died more than PurgeAfter ago. Nothing is lost when it is called less often, or by several nodes.
func (k *Keys) Maintain(ctx context.Context) error {
	k.maintenance.Lock()
	defer k.maintenance.Unlock()
	err := errors.Join(k.writeHeld(ctx), k.flushUses(ctx))
	k.Limits.sweep(k.Now())
	if k.PurgeAfter < 0 || k.Now().Before(k.nextPurge) {
		return err
	}
	n, purgeErr := k.purge(ctx, k.PurgeAfter)
	if purgeErr == nil {
		k.nextPurge = k.Now().Add(24 * time.Hour)
	}
	if n > 0 {
		k.Audit(Event{At: k.Now(), Action: "purge", Actor: Actor{ID: "timer"}, OK: purgeErr == nil, Count: n})
	}
	return errors.Join(err, purgeErr)
}

// seconds is the node's clock as records have it.
func (k *Keys) seconds() uint64 { return uint64(max(0, k.Now().Unix())) }

// read returns the record at id and its bytes; nil, nil, nil when there is none.
func (k *Keys) read(ctx context.Context, id string) (*Key, []byte, error) {
	if !isID(id) {
		return nil, nil, nil
	}
	raw, err := k.store.Get(ctx, Space, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, ErrStoreUnavailable.because(err)
	}
	key, err := k.memo.decode(id, raw)
	if err != nil {
		return nil, nil, ErrStoreUnavailable.because(err)
	}
	return key, raw, nil
}

const tries = 5

// change reads, edits and writes a record until nobody has come between, at most five times. edit returns false to
// leave the record as it is. The result is the record as it now is, nil if there is none.
func (k *Keys) change(ctx context.Context, id string, edit func(*Record) (bool, error)) (now *Key, changed, durable bool, err error) {
	for try := range tries {
		key, raw, err := k.read(ctx, id)
		if err != nil || key == nil {
			return nil, false, true, err
		}
		r := key.Record
		revoked := r.RevokedAt
		if changed, err := edit(&r); err != nil || !changed {
			return key, false, true, err
		}
		if revoked != nil {
			r.RevokedAt = revoked // nothing gives a revoked key back
		}
		r.Rev++
		key, durable, err = k.write(ctx, r, raw, revoked == nil && r.RevokedAt != nil)
		if errors.Is(err, store.ErrConflict) {
			if err := pause(ctx, try); err != nil {
				return nil, false, true, ErrStoreUnavailable.because(err)
			}
			continue
		}
		if err != nil {
			return nil, false, true, notWritten(err)
		}
		k.Limits.held.written(id, key.RevokedAt != nil)
		return key, true, durable, nil
	}
	return nil, false, true, ErrContended.about("key %s was changed by others %d times in a row; try again", id, tries)
}

// write swaps old for r. When it returns, no request to this node sees the old record.
func (k *Keys) write(ctx context.Context, r Record, old []byte, final bool) (key *Key, durable bool, err error) {
	raw, err := r.encode()
	if err != nil {
		return nil, true, err
	}
	key, err = decode(r.ID, raw)
	if err != nil {
		return nil, true, fmt.Errorf("record would not be readable: %w", err)
	}
	err = k.store.Swap(ctx, store.Change{
		Space: Space, ID: r.ID, Old: old, New: raw,
		Score: r.score(), Expires: r.keptUntil(k.seconds()),
		Announce: true, Final: final,
	})
	k.cache.drop(r.ID) // also when it failed: then what is stored is not known
	durable = !errors.Is(err, store.ErrNotDurable)
	if !durable {
		err = nil
	}
	if err == nil {
		k.changed(r.ID, &key.Record)
	}
	return key, durable, err
}

// pause waits 1 to 2, 2 to 4, … milliseconds.
func pause(ctx context.Context, try int) error {
	d := time.Millisecond << try
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d + rand.N(d)):
		return nil
	}
}
