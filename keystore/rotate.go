package keystore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/labiium/chat2response/store"
)

// maxOverlap is the longest that an old key may live beside its successor, in seconds: a week.
const maxOverlap = 7 * 24 * 3600

// RotateRequest is the body of POST /keys/rotate.
type RotateRequest struct {
	ID string `json:"id"`
	// OverlapSeconds is how long the old key goes on working, 0 (the default) to 604800; never past its own end.
	OverlapSeconds uint64 `json:"overlap_seconds"`
	// IdempotencyKey makes a repetition harmless: the same id and key are one rotation.
	IdempotencyKey string `json:"idempotency_key"`
}

// Rotate mints a successor to a key, of the same tenant, limits and length of life, and lets the old key end after the
// overlap. If it fails, the old key is as it was.
//
// A repetition with the same IdempotencyKey returns the same successor with a null Token: the secret is in the first
// reply and nowhere else. Whoever has lost that reply rotates the successor. Without the key, or with another, a key
// that was rotated before is refused with ErrRotated. Other refusals: ErrNoSuchKey, ErrKeyNotActive, ErrInvalidValue.
func (k *Keys) Rotate(ctx context.Context, req RotateRequest, by Actor) (Created, error) {
	c, err := k.rotate(ctx, req, by)
	k.Audit(Event{
		At: k.Now(), Action: "rotate", KeyID: auditID(req.ID), Actor: by, OK: err == nil && c.Token != nil,
		Changed: []string{"expires_at", "replaced_by"}, Err: err,
	})
	return c, err
}

func (k *Keys) rotate(ctx context.Context, req RotateRequest, by Actor) (Created, error) {
	if req.OverlapSeconds > maxOverlap {
		return Created{}, invalid("overlap_seconds", "overlap_seconds is %d; it must be from 0 to %d (7 days)", req.OverlapSeconds, maxOverlap)
	}
	if len(req.IdempotencyKey) > maxText {
		return Created{}, invalid("idempotency_key", "idempotency_key is %d bytes; at most %d are possible", len(req.IdempotencyKey), maxText)
	}
	old, _, err := k.read(ctx, req.ID)
	if err != nil {
		return Created{}, err
	}
	if old == nil {
		return Created{}, ErrNoSuchKey
	}
	mark := rotationMark(req)
	if c, done, err := k.rotated(ctx, &old.Record, mark); done {
		return c, err
	}
	next, err := k.successor(&old.Record, by)
	if err != nil {
		return Created{}, err
	}
	c, err := k.create(ctx, next)
	if err != nil {
		return Created{}, err
	}

	// The successor exists and nobody has its token. Now the old key; whatever goes wrong, the successor goes again.
	var repeated *Record
	_, changed, durable, err := k.change(ctx, req.ID, func(r *Record) (bool, error) {
		if r.ReplacedBy != "" || k.status(r, k.seconds()) != "active" {
			repeated = r
			return false, nil
		}
		end := k.seconds() + req.OverlapSeconds
		if r.ExpiresAt != nil {
			end = min(end, *r.ExpiresAt)
		}
		if e, ok := k.Limits.held.of(r.ID); ok && e.expiresAt != nil {
			end = min(end, *e.expiresAt)
		}
		r.ExpiresAt, r.ReplacedBy, r.RotationKey = &end, c.ID, mark
		return true, nil
	})
	if changed || (err != nil && k.isReplacedBy(ctx, req.ID, c.ID)) {
		if !durable {
			c.Durable = new(false)
		}
		return c, nil
	}
	k.discard(ctx, c.ID)
	if err != nil {
		return Created{}, err
	}
	if repeated == nil {
		return Created{}, ErrNoSuchKey
	}
	c, _, err = k.rotated(ctx, repeated, mark)
	return c, err
}

// rotated answers for a key that cannot be rotated (again); done is false if it can.
func (k *Keys) rotated(ctx context.Context, old *Record, mark string) (c Created, done bool, err error) {
	if old.ReplacedBy != "" {
		if mark == "" || mark != old.RotationKey {
			return c, true, ErrRotated.about("API key %s was rotated to %s; rotate that one", old.ID, old.ReplacedBy)
		}
		next, _, err := k.read(ctx, old.ReplacedBy)
		if err != nil {
			return c, true, err
		}
		if next == nil {
			return c, true, ErrRotated.about("API key %s was rotated to %s, which has been removed since", old.ID, old.ReplacedBy)
		}
		return created(next.Record), true, nil
	}
	if status := k.status(old, k.seconds()); status != "active" {
		return c, true, ErrKeyNotActive.about("API key %s is %s; generate a new one", old.ID, status)
	}
	return c, false, nil
}

// successor is the record of the key that will follow old, without id and secret.
func (k *Keys) successor(old *Record, by Actor) (Record, error) {
	now := k.seconds()
	var life *uint64
	if old.ExpiresAt != nil {
		life = new(min(*old.ExpiresAt-min(old.CreatedAt, *old.ExpiresAt), maxLifetime))
	}
	var expires *uint64
	var err error
	if life != nil || !k.Policy.AllowNoExpiration {
		expires, err = k.Policy.expiry(now, nil, life)
	}
	next := *old
	next.ExpiresAt, next.Tenant, next.RotatedFrom, next.CreatedBy = expires, old.Owner(), old.ID, by.ID
	next.RevokedAt, next.ReplacedBy, next.RotationKey, next.Rev = nil, "", "", 0
	return next, err
}

// isReplacedBy asks once more when it is not known whether the old key was written.
func (k *Keys) isReplacedBy(ctx context.Context, id, next string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
	defer cancel()
	old, _, err := k.read(ctx, id)
	return err == nil && old != nil && old.ReplacedBy == next
}

// discard removes a successor that was never given out. If the store does not answer it stays, listed and harmless.
func (k *Keys) discard(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = k.store.Delete(ctx, Space, id)
	k.cache.drop(id)
}

// rotationMark is what is kept of an idempotency key: its owner may have put anything into it.
func rotationMark(req RotateRequest) string {
	if req.IdempotencyKey == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(req.ID + "\x00" + req.IdempotencyKey))
	return hex.EncodeToString(sum[:16])
}

// PurgeRequest is the body of POST /keys/purge.
type PurgeRequest struct {
	// OlderThanSeconds is how long ago a key must have been revoked or have expired; null: 30 days.
	OlderThanSeconds *uint64 `json:"older_than_seconds"`
}

// Purged is the reply to POST /keys/purge.
type Purged struct {
	Purged int `json:"purged"`
}

// Purge removes the records of keys that have been dead for so long. Their tokens are "Invalid API key" from then on.
// If the store fails, those that are left stay "revoked" or "expired": nobody is let in for it.
func (k *Keys) Purge(ctx context.Context, req PurgeRequest, by Actor) (Purged, error) {
	age := uint64(Tombstone / time.Second)
	if req.OlderThanSeconds != nil {
		age = min(*req.OlderThanSeconds, maxLifetime*10)
	}
	n, err := k.purge(ctx, time.Duration(age)*time.Second)
	k.Audit(Event{At: k.Now(), Action: "purge", Actor: by, OK: err == nil, Count: n, Err: err})
	return Purged{n}, err
}

func (k *Keys) purge(ctx context.Context, age time.Duration) (n int, err error) {
	limit := k.seconds() - min(k.seconds(), uint64(age/time.Second))
	for p := (store.Page{Limit: store.MaxPage}); ; {
		page, err := k.store.List(ctx, Space, p)
		if err != nil {
			return n, ErrStoreUnavailable.because(err)
		}
		for _, e := range page {
			p.After = e.Position
			key, err := decode(e.ID, e.Value)
			if err != nil {
				continue // List says so
			}
			if died, dead := key.diedAt(k.seconds()); !dead || died > limit {
				continue
			}
			removed, err := k.remove(ctx, e)
			if err != nil {
				return n, ErrStoreUnavailable.because(err)
			}
			n += removed
		}
		if len(page) < p.Limit {
			return n, nil
		}
	}
}

// remove removes exactly the record that was found dead: whoever has just given the key a later end wins.
func (k *Keys) remove(ctx context.Context, e store.Entry) (int, error) {
	err := k.store.Swap(ctx, store.Change{Space: Space, ID: e.ID, Old: e.Value, Announce: true})
	k.cache.drop(e.ID)
	if notFound(err) {
		return 0, nil
	}
	if err != nil && !errors.Is(err, store.ErrNotDurable) {
		return 0, err
	}
	k.changed(e.ID, nil)
	if err := k.store.Delete(ctx, useSpace, e.ID); err != nil && !notFound(err) {
		return 1, err
	}
	return 1, nil
}
