package keystore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// maxHeld is how many ends of keys are held that could not be written. Only who may administer adds to them.
const maxHeld = 4096

// held are the ends of keys that the store would not take, a full disk mostly. They hold in this process from the
// moment that they were asked for, in every configuration that follows (they are part of Limits), until they are
// written; Maintain tries. If the process ends before, they are lost, which is what the administrator was told.
type held struct {
	count atomic.Int64 // of ends, to be asked at each use of a key
	mu    sync.RWMutex
	ends  map[string]heldEnd
}

// heldEnd is how a key ends. home tries to write it; when home has been closed, whoever has the key does.
type heldEnd struct {
	home      *Keys
	revokedAt *uint64 // revoked
	expiresAt *uint64 // the end was moved nearer
	rev       uint64  // of the record whose end was to be moved: if others have changed it since, their word counts
}

// of returns the end that is held for a key.
func (h *held) of(id string) (e heldEnd, ok bool) {
	if h.count.Load() == 0 {
		return e, false
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	e, ok = h.ends[id]
	return e, ok
}

// hold adds an end; false: there is no room. A revocation is not replaced by anything less.
func (h *held) hold(id string, e heldEnd) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	was, have := h.ends[id]
	switch {
	case have && was.revokedAt != nil:
		return true
	case !have && len(h.ends) >= maxHeld:
		return false
	case h.ends == nil:
		h.ends = map[string]heldEnd{}
	}
	h.ends[id] = e
	h.count.Store(int64(len(h.ends)))
	return true
}

// written forgets the end of a key after a write that has settled it: revoked says whether the key now is.
func (h *held) written(id string, revoked bool) {
	if h.count.Load() == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if e, ok := h.ends[id]; ok && (revoked || e.revokedAt == nil) {
		delete(h.ends, id)
		h.count.Store(int64(len(h.ends)))
	}
}

// gone forgets the end of a key that its home does not have: it was removed, or never was.
func (h *held) gone(id string, home *Keys) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e, ok := h.ends[id]; ok && e.home == home {
		delete(h.ends, id)
		h.count.Store(int64(len(h.ends)))
	}
}

// leave gives the ends of home to whoever has their keys.
func (h *held) leave(home *Keys) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, e := range h.ends {
		if e.home == home {
			e.home = nil
			h.ends[id] = e
		}
	}
}

// due are the ends that k has to write.
func (h *held) due(k *Keys) map[string]heldEnd {
	if h.count.Load() == 0 {
		return nil
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	due := maps.Clone(h.ends)
	maps.DeleteFunc(due, func(_ string, e heldEnd) bool { return e.home != nil && e.home != k })
	return due
}

// ended returns why a key is no longer good, by its record and by what is held; nil if it is good.
func (k *Keys) ended(r *Record, now uint64) error {
	e, ok := k.Limits.held.of(r.ID)
	switch {
	case r.RevokedAt != nil, ok && e.revokedAt != nil:
		return ErrRevoked
	case r.expired(now), ok && e.expiresAt != nil && now >= *e.expiresAt:
		return ErrExpired
	}
	return nil
}

// status is Record.Status, with what is held.
func (k *Keys) status(r *Record, now uint64) string {
	switch k.ended(r, now) {
	case ErrRevoked:
		return "revoked"
	case ErrExpired:
		return "expired"
	}
	return "active"
}

// holdRevocation makes a revocation that could not be written hold in this process, and returns what to say of it.
func (k *Keys) holdRevocation(id string, cause error) error {
	cause = root(cause)
	if !k.Limits.held.hold(id, heldEnd{home: k, revokedAt: new(k.seconds())}) {
		const message = "The revocation could not be written, and %d others wait for it already: the key goes on working"
		return ErrStoreUnavailable.about(message, maxHeld).because(cause)
	}
	k.Log.Error("a revocation could not be written: the key is refused by this process only, until it is written",
		zap.String("key_id", id), zap.Error(cause))
	k.Limits.watches.tell(id, func(*watch) error { return ErrRevoked })
	return ErrRevocationNotDurable.because(cause)
}

// root is what a store has said, without our words for it.
func root(err error) error {
	if e, ok := errors.AsType[*Error](err); ok && e.cause != nil {
		return e.cause
	}
	return err
}

// holdExpiry does the same for an end that was moved nearer. was is the record that is stored, as far as is known.
func (k *Keys) holdExpiry(was *Record, expires uint64, cause error) error {
	if was.ExpiresAt != nil && *was.ExpiresAt <= expires {
		return cause // the key ends no sooner
	}
	if !k.Limits.held.hold(was.ID, heldEnd{home: k, expiresAt: &expires, rev: was.Rev}) {
		return cause
	}
	cause = root(cause)
	k.Log.Error("a key's nearer end could not be written: it holds in this process only, until it is written",
		zap.String("key_id", was.ID), zap.Uint64("expires_at", expires), zap.Error(cause))
	return ErrExpirationNotDurable.because(cause)
}

// writeHeld tries to write what is held. It goes on after a failure: what stands in one key's way need not be in the
// next one's.
func (k *Keys) writeHeld(ctx context.Context) error {
	var first error
	failed := 0
	for id, e := range k.Limits.held.due(k) {
		key, changed, _, err := k.change(ctx, id, e.apply)
		switch {
		case err != nil:
			if failed++; first == nil {
				first = err
			}
		case key == nil:
			k.Limits.held.gone(id, k)
		default:
			k.Limits.held.written(id, key.RevokedAt != nil)
			if changed {
				k.Log.Info("the end of a key has been written that could not be before", zap.String("key_id", id))
				k.Audit(e.event(id, k.Now()))
			}
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d revocations or nearer ends are still not written: %w", failed, root(first))
	}
	return nil
}

// apply makes a record end as e says, unless somebody has done so, or has moved the end since.
func (e heldEnd) apply(r *Record) (bool, error) {
	switch {
	case e.revokedAt != nil:
		if r.RevokedAt != nil {
			return false, nil
		}
		r.RevokedAt = e.revokedAt
	case r.Rev != e.rev:
		return false, nil
	default:
		r.ExpiresAt = e.expiresAt
	}
	return true, nil
}

// event is the act that the timer has finished for an administrator.
func (e heldEnd) event(id string, at time.Time) Event {
	action, member := "revoke", "revoked_at"
	if e.revokedAt == nil {
		action, member = "set_expiration", "expires_at"
	}
	return Event{At: at, Action: action, KeyID: id, Actor: Actor{ID: "timer"}, OK: true, Changed: []string{member}}
}
