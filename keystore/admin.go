package keystore

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/store"
)

// GenerateRequest is the body of POST /keys/generate. Everything is optional; null is absent.
type GenerateRequest struct {
	Label      *string  `json:"label"`
	TTLSeconds *uint64  `json:"ttl_seconds"` // from now
	ExpiresAt  *uint64  `json:"expires_at"`  // seconds since 1970; goes before TTLSeconds
	Scopes     []string `json:"scopes"`

	Tenant      string         `json:"tenant"`
	Models      []string       `json:"models"`
	Tools       []string       `json:"tools"`
	RPM         uint64         `json:"rpm"`
	MaxParallel uint64         `json:"max_parallel"`
	Meta        jsontext.Value `json:"meta"` // a JSON object
}

// Created is the reply to generate and rotate, the original's members first. Token is there and nowhere else, ever.
type Created struct {
	ID        string  `json:"id"`
	Token     *string `json:"token"` // null when a repeated rotation is answered: see Rotate
	CreatedAt uint64  `json:"created_at"`
	ExpiresAt *uint64 `json:"expires_at"`
	Label     *string `json:"label"`
	Scopes    Scopes  `json:"scopes"`

	RotatedFrom string `json:"rotated_from,omitzero"`
	// Durable is false when fewer replicas than min_replicas have confirmed the key; otherwise absent.
	Durable *bool `json:"durable,omitzero"`
}

// The bounds of what an administrator may put into a record.
const (
	maxText = 256  // bytes of a label, scope, model, tool or tenant
	maxList = 256  // entries of a list
	maxMeta = 4096 // bytes of meta
	maxRate = 1_000_000
)

func (r GenerateRequest) validate() error {
	if r.Label != nil && len(*r.Label) > maxText {
		return invalid("label", "label is %d bytes; at most %d are possible", len(*r.Label), maxText)
	}
	if len(r.Tenant) > maxText {
		return invalid("tenant", "tenant is %d bytes; at most %d are possible", len(r.Tenant), maxText)
	}
	for _, l := range []struct {
		param string
		list  []string
	}{{"scopes", r.Scopes}, {"models", r.Models}, {"tools", r.Tools}} {
		if len(l.list) > maxList || slices.ContainsFunc(l.list, func(s string) bool { return s == "" || len(s) > maxText }) {
			return invalid(l.param, "%s: at most %d entries of 1 to %d bytes are possible", l.param, maxList, maxText)
		}
	}
	for _, s := range r.Scopes {
		if err := checkScope(s); err != nil {
			return err
		}
	}
	if r.RPM > maxRate || r.MaxParallel > maxRate {
		return invalid("rpm", "rpm and max_parallel must be from 0 (no limit) to %d", maxRate)
	}
	if r.Meta != nil && (r.Meta.Kind() != jsontext.KindBeginObject || len(r.Meta) > maxMeta) {
		return invalid("meta", "meta must be a JSON object of at most %d bytes", maxMeta)
	}
	return nil
}

// Generate mints a key.
func (k *Keys) Generate(ctx context.Context, req GenerateRequest, by Actor) (Created, error) {
	c, err := k.generate(ctx, req, by)
	k.Audit(Event{At: k.Now(), Action: "generate", KeyID: c.ID, Actor: by, OK: err == nil, Err: err})
	return c, err
}

func (k *Keys) generate(ctx context.Context, req GenerateRequest, by Actor) (Created, error) {
	if err := req.validate(); err != nil {
		return Created{}, err
	}
	expires, err := k.Policy.expiry(k.seconds(), req.ExpiresAt, req.TTLSeconds)
	if err != nil {
		return Created{}, err
	}
	return k.create(ctx, Record{
		Label: req.Label, ExpiresAt: expires, Scopes: req.Scopes,
		Tenant: req.Tenant, Models: req.Models, Tools: req.Tools, RPM: req.RPM, MaxParallel: req.MaxParallel,
		Meta: req.Meta, CreatedBy: by.ID,
	})
}

// create gives r an id and a secret and stores it.
func (k *Keys) create(ctx context.Context, r Record) (Created, error) {
	id, secret, salt := mint()
	hash := digest(salt, secret)
	r.ID, r.SaltHex, r.HashHex = id, hex.EncodeToString(salt[:]), hex.EncodeToString(hash[:])
	r.CreatedAt = k.seconds()
	_, durable, err := k.write(ctx, r, nil, false)
	if err != nil {
		return Created{}, notWritten(err)
	}
	k.gate.saw(id)
	c := created(r)
	c.Token = new(formatToken(id, secret))
	if !durable {
		c.Durable = new(false)
	}
	return c, nil
}

func created(r Record) Created {
	return Created{ID: r.ID, CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, Label: r.Label, Scopes: r.Scopes, RotatedFrom: r.RotatedFrom}
}

// Revoked is the reply to POST /keys/revoke.
type Revoked struct {
	Revoked bool   `json:"revoked"`
	ID      string `json:"id"`
	Durable *bool  `json:"durable,omitzero"` // as in Created
}

// Revoke ends a key for good: no request that begins after it has returned is let in on this node, nor a second later
// on another. Revoked is false, without an error, for a key that is revoked already or does not exist.
//
// A store that fails does not keep a key alive here: then the error is ErrRevocationNotDurable, the key is refused by
// this process, and Maintain tries to write it. If 4096 wait so already it is ErrStoreUnavailable, and says that the
// key goes on. ErrContended: nothing was done, others change the key; try again.
func (k *Keys) Revoke(ctx context.Context, id string, by Actor) (Revoked, error) {
	_, changed, durable, err := k.change(ctx, id, func(r *Record) (bool, error) {
		if r.RevokedAt != nil {
			return false, nil
		}
		r.RevokedAt = new(k.seconds())
		return true, nil
	})
	if err != nil && !errors.Is(err, ErrContended) {
		err = k.holdRevocation(id, err)
	}
	k.Audit(Event{At: k.Now(), Action: "revoke", KeyID: auditID(id), Actor: by, OK: changed, Changed: []string{"revoked_at"}, Err: err})
	reply := Revoked{Revoked: changed, ID: id}
	if !durable {
		reply.Durable = new(false)
	}
	return reply, err
}

// notWritten is the refusal of an act that the store would not take.
func notWritten(err error) error {
	return ErrStoreUnavailable.about("The key store did not take the change; try again").because(err)
}

// auditID keeps whatever was sent as an id, perhaps a whole token, out of the log.
func auditID(id string) string {
	if isID(id) {
		return id
	}
	return "(not a key id)"
}

// SetExpirationRequest is the body of POST /keys/set_expiration. One of the three must be there.
type SetExpirationRequest struct {
	ID         string
	ExpiresAt  *uint64 // seconds since 1970; goes before TTLSeconds
	TTLSeconds *uint64 // from now
	Clear      bool    // expires_at was null: the key shall never expire
}

// UnmarshalJSON tells "expires_at": null, which takes the expiry away, from no expires_at, which does not.
func (r *SetExpirationRequest) UnmarshalJSON(b []byte) error {
	var body struct {
		ID         *string        `json:"id"`
		ExpiresAt  jsontext.Value `json:"expires_at"`
		TTLSeconds *uint64        `json:"ttl_seconds"`
	}
	if err := json.Unmarshal(b, &body); err != nil {
		return err
	}
	*r = SetExpirationRequest{TTLSeconds: body.TTLSeconds}
	if body.ID != nil {
		r.ID = *body.ID
	}
	if body.ExpiresAt == nil {
		return nil
	}
	r.Clear = body.TTLSeconds == nil && body.ExpiresAt.Kind() == jsontext.KindNull
	return json.Unmarshal(body.ExpiresAt, &r.ExpiresAt)
}

// Expiration is the reply to POST /keys/set_expiration. Like the original's it has no expires_at for an unknown id.
type Expiration struct {
	Updated   bool
	ID        string
	ExpiresAt *uint64
	Durable   bool
}

// MarshalJSON writes the original's members.
func (e Expiration) MarshalJSON() ([]byte, error) {
	type reply struct {
		Updated   bool           `json:"updated"`
		ID        string         `json:"id"`
		ExpiresAt jsontext.Value `json:"expires_at,omitzero"`
		Durable   *bool          `json:"durable,omitzero"`
	}
	r := reply{Updated: e.Updated, ID: e.ID}
	if e.Updated {
		r.ExpiresAt, _ = json.Marshal(e.ExpiresAt)
	}
	if !e.Durable {
		r.Durable = new(false)
	}
	return json.Marshal(r)
}

// SetExpiration moves or takes away a key's end, under the policy that holds for new keys. It changes revoked keys
// too, and never gives one back. Updated is false, without an error, for an unknown id. An end that comes nearer, and
// that the store can read but not write, holds as a revocation does: ErrExpirationNotDurable.
func (k *Keys) SetExpiration(ctx context.Context, req SetExpirationRequest, by Actor) (Expiration, error) {
	var key *Key
	var changed bool
	durable := true
	expires, err := k.newExpiry(req)
	if err == nil {
		var was *Record
		key, changed, durable, err = k.change(ctx, req.ID, func(r *Record) (bool, error) {
			was = new(*r)
			r.ExpiresAt = expires
			return true, nil
		})
		if err != nil && !errors.Is(err, ErrContended) && was != nil && expires != nil {
			err = k.holdExpiry(was, *expires, err)
		}
	}
	k.Audit(Event{At: k.Now(), Action: "set_expiration", KeyID: auditID(req.ID), Actor: by, OK: changed, Changed: []string{"expires_at"}, Err: err})
	reply := Expiration{Updated: changed, ID: req.ID, Durable: durable}
	if changed {
		reply.ExpiresAt = key.ExpiresAt
	}
	return reply, err
}

func (k *Keys) newExpiry(req SetExpirationRequest) (*uint64, error) {
	switch {
	case req.Clear && req.ExpiresAt == nil && req.TTLSeconds == nil:
		if !k.Policy.AllowNoExpiration {
			return nil, invalid("expires_at", "expires_at null would let the key live for ever; set CHAT2RESPONSE_KEYS_ALLOW_NO_EXPIRATION=1 to allow that")
		}
		return nil, nil
	case req.ExpiresAt == nil && req.TTLSeconds == nil:
		return nil, invalid("expires_at", `Provide expires_at or ttl_seconds ("expires_at": null takes the expiry away)`)
	}
	return k.Policy.expiry(k.seconds(), req.ExpiresAt, req.TTLSeconds)
}

// notFound is whether err says that there was nothing to remove.
func notFound(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict)
}
