package keystore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Record is a key as it is stored. The first eight members are the original's, always present, with explicit nulls;
// the others are absent unless set, and the original ignores them. Times are seconds since 1970.
type Record struct {
	ID        string  `json:"id"`
	Label     *string `json:"label"`
	CreatedAt uint64  `json:"created_at"`
	ExpiresAt *uint64 `json:"expires_at"`
	RevokedAt *uint64 `json:"revoked_at"`
	SaltHex   string  `json:"salt_hex"` // 16 bytes
	HashHex   string  `json:"hash_hex"` // SHA-256 of salt and secret, both raw
	Scopes    Scopes  `json:"scopes"`

	// Rev counts the changes made since the key was minted.
	Rev uint64 `json:"rev,omitzero"`
	// Tenant owns what the key's requests leave behind; rotation keeps it. Empty: the key's id.
	Tenant string `json:"tenant,omitzero"`
	// Models are the models that may be used, '*' standing for any run of characters; absent: all; empty: none.
	Models []string `json:"models,omitzero"`
	// Tools are the gateway's tools that may run, by the same rule, except that absent is the configuration's default.
	Tools []string `json:"tools,omitzero"`
	// RPM is the requests per minute, 0 for no limit.
	RPM uint64 `json:"rpm,omitzero"`
	// MaxParallel is the requests at one time, streams until their end; 0 for no limit.
	MaxParallel uint64 `json:"max_parallel,omitzero"`
	RotatedFrom string `json:"rotated_from,omitzero"`
	ReplacedBy  string `json:"replaced_by,omitzero"`
	// RotationKey is a digest of the idempotency key of the rotation that made ReplacedBy.
	RotationKey string `json:"rotation_key,omitzero"`
	CreatedBy   string `json:"created_by,omitzero"`
	// Meta is the owner's, a JSON object.
	Meta jsontext.Value `json:"meta,omitzero"`

	// Unknown are the members that this version does not know, as they were read.
	Unknown jsontext.Value `json:",embed"`
}

// Scopes are a key's scopes. None is null in JSON, as the original writes it, not an empty array.
type Scopes []string

// MarshalJSON writes null for nil.
func (s Scopes) MarshalJSON() ([]byte, error) {
	if s == nil {
		return []byte("null"), nil
	}
	return json.Marshal([]string(s))
}

// Key is a record whose hash has been decoded. It is never changed, so it may be kept and shared.
type Key struct {
	Record
	salt [saltSize]byte
	hash [sha256.Size]byte
}

// decode reads a record and checks that it is the one asked for. A reply that was meant for another reader, as has
// happened to users of pooled connections (CVE-2025-29923 in go-redis is of that kind), must not let anybody in.
func decode(id string, raw []byte) (*Key, error) {
	k := new(Key)
	if err := json.Unmarshal(raw, &k.Record); err != nil {
		return nil, fmt.Errorf("record of key %s: %w", id, redactSyntax(err))
	}
	if k.ID != id {
		return nil, fmt.Errorf("record of key %s has another id; the store has answered something else", id)
	}
	salt, err := hex.DecodeString(k.SaltHex)
	hash, err2 := hex.DecodeString(k.HashHex)
	if err := errors.Join(err, err2); err != nil || len(salt) != saltSize || len(hash) != sha256.Size {
		return nil, fmt.Errorf("record of key %s: salt_hex or hash_hex is not %d and %d bytes of hex", id, saltSize, sha256.Size)
	}
	copy(k.salt[:], salt)
	copy(k.hash[:], hash)
	return k, nil
}

// redactSyntax keeps the place of a JSON error and drops its text, which may quote the record.
func redactSyntax(err error) error {
	if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Errorf("not JSON at byte %d", s.ByteOffset)
	}
	if s, ok := errors.AsType[*json.SemanticError](err); ok {
		return fmt.Errorf("unexpected value at %q", s.JSONPointer)
	}
	return errors.New("not a record")
}

// encode writes r as decode reads it. The unknown members are put at the end by hand: an encoder would write them
// in its own spelling, and they are not ours to touch.
func (r Record) encode() ([]byte, error) {
	unknown := bytes.TrimSpace(r.Unknown)
	r.Unknown = nil
	known, err := json.Marshal(r, jsontext.PreserveRawStrings(true))
	if err != nil {
		return nil, err
	}
	if len(unknown) < 2 || len(bytes.TrimSpace(unknown[1:len(unknown)-1])) == 0 {
		return known, nil
	}
	known[len(known)-1] = ','
	return append(known, unknown[1:]...), nil
}

// scoreOf is what the store orders records by that another program has written.
func scoreOf(raw []byte) (int64, bool) {
	var r struct {
		CreatedAt uint64 `json:"created_at"`
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return 0, false
	}
	return Record{CreatedAt: r.CreatedAt}.score(), true
}

func (r Record) score() int64 { return int64(min(r.CreatedAt, 1<<53)) }

// Status is "active", "expired" or "revoked".
func (r *Record) Status(now uint64) string {
	switch {
	case r.RevokedAt != nil:
		return "revoked"
	case r.expired(now):
		return "expired"
	}
	return "active"
}

func (r *Record) expired(now uint64) bool { return r.ExpiresAt != nil && now >= *r.ExpiresAt }

// diedAt returns when the key was revoked or expired, whichever was first; false if it is alive.
func (r *Record) diedAt(now uint64) (uint64, bool) {
	switch {
	case r.RevokedAt != nil && r.expired(now):
		return min(*r.RevokedAt, *r.ExpiresAt), true
	case r.RevokedAt != nil:
		return *r.RevokedAt, true
	case r.expired(now):
		return *r.ExpiresAt, true
	}
	return 0, false
}

// keptUntil is when the store may forget the record: never while the key lives, or its expiry could not be moved and
// "expired" would turn into "unknown".
func (r *Record) keptUntil(now uint64) time.Time {
	died, dead := r.diedAt(now)
	if !dead {
		return time.Time{}
	}
	return time.Unix(int64(min(died, now)), 0).Add(Tombstone)
}

// Owner is the tenant, which is the key's own id unless it says otherwise.
func (r *Record) Owner() string {
	if r.Tenant != "" {
		return r.Tenant
	}
	return r.ID
}

// Hint tells one key from another in lists and logs: the head of the id, nothing of the secret.
func (r *Record) Hint() string { return prefix + r.ID[:min(8, len(r.ID))] + "...." }

// CheckModel returns ErrModelNotAllowed if the key has a list of models and model is not in it. Case counts. Check
// the client's model and, after aliases, the one sent upstream.
func (r *Record) CheckModel(model string) error {
	if r.Models == nil || matchAny(r.Models, model) {
		return nil
	}
	return ErrModelNotAllowed.about("This API key may not use the model %q", model)
}

// AllowsTool reports whether the gateway's tool of that exposed name may run for this key; byDefault is the answer for
// a key that has no list.
func (r *Record) AllowsTool(name string, byDefault bool) bool {
	if r.Tools == nil {
		return byDefault
	}
	return matchAny(r.Tools, name)
}

func matchAny(patterns []string, s string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, s) })
}

// match compares s with a pattern in which '*' stands for any run of characters, "/" included: model names have
// slashes. It takes time in proportion to the two lengths' product at worst.
func match(pattern, s string) bool {
	var p, i int
	star, from := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
