// Package history is what the gateway remembers for its clients, on any [store.Store]: responses and the chains they
// form by previous_response_id, conversations, the events of background responses, and stored chat completions.
//
// Everything belongs to a tenant. There is no way to read or write but through a [Tenant], which knows no ids but its
// own: another tenant's id, one that never was, one that has expired and one that was deleted are the same
// [ErrNotFound].
//
// Nothing is written but by a method that says so, and none is called for a request with store:false.
package history

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/labiium/chat2response/store"
)

// Config is what is kept, for how long, and how much of it. The zero value is the documented default.
type Config struct {
	// TTL is how long a response or a chat completion is kept after it was made or, for a response, last continued.
	// It is removed not before that and at most a sixteenth of TTL later. Default: 30 days, as OpenAI keeps them
	// (https://platform.openai.com/docs/guides/your-data).
	TTL time.Duration
	// ConversationTTL is how long a conversation is kept after it was last used, in the same sense. Default: 30 days;
	// negative: until it is deleted, as OpenAI does it.
	ConversationTTL time.Duration
	// MaxResponse is the largest response or chat completion, in bytes of JSON with its own input. Default: 4 MiB;
	// at most 16 MiB.
	MaxResponse int64
	// MaxChain is the largest chain or conversation, in bytes of JSON of its items. A longer one is kept, but not
	// continued. Default: 8 MiB; at most 256 MiB.
	MaxChain int64
	// MaxRecords is how many responses, conversations and chat completions a tenant may have. Those that were made, or
	// for a conversation last appended to, the longest ago give way to new ones, and what continues them ends with
	// them. Default: 10000.
	MaxRecords int
	// MaxBytes is how much they may come to, in bytes of JSON, and 200 for each item that came with an id; the oldest give way in the same manner. The events of
	// background responses, which are kept for minutes, do not count. Default: 256 MiB.
	MaxBytes int64
	// MaxKeylessBytes and MaxKeylessRecords are how much all tenants of [History.Keyless] that have a token may have
	// together, beside the bounds of each: anybody can invent tokens. One that finds no room gives up its own oldest,
	// and if that is not enough it is refused with ErrFull; nothing of another gives way to it. Room is granted in
	// steps, up to twice what is needed while there is plenty. Defaults: MaxBytes and MaxRecords.
	MaxKeylessBytes   int64
	MaxKeylessRecords int
	// Keys encrypt what is kept: the first encrypts, all decrypt. With none it is kept as it is. What was kept before
	// there was a key stays readable and stays as it is.
	Keys []Key
}

// Key is a key for what is kept, under a name that is written beside each value so that keys can be changed.
type Key struct {
	// ID tells keys apart; it may not be used for another secret while values under the old one live.
	ID byte
	// Secret is 16 random bytes or more.
	Secret []byte
}

const (
	// MaxItemsPerCall is how many items one call may add to a conversation.
	// https://platform.openai.com/docs/api-reference/conversations/create-items
	MaxItemsPerCall = 20

	defaultTTL = 30 * 24 * time.Hour
	secretID   = "secret"
	rootSpace  = "state"
)

// History is what is remembered in one store. All methods, of it and of what it returns, may be called at once from
// many goroutines, except where a type says otherwise. It holds no connection and no goroutine of its own.
type History struct {
	c     Config
	store store.Store
	box   *box
	count counters

	// Times of background responses; tests shorten them.
	lease, poll, flush, keepEvents time.Duration

	mu     sync.Mutex
	secret *secret
	usage  map[string]*usage // by tenant
	jobs   map[string]*Job   // that run in this process, by space and id

	common common

	crowd sync.Mutex // of whoever makes room in a store that is full
}

// New returns the history in s, which the caller keeps open. It reads nothing yet.
func New(s store.Store, c Config) (*History, error) {
	byDefault(&c.TTL, defaultTTL)
	byDefault(&c.ConversationTTL, defaultTTL)
	byDefault(&c.MaxResponse, 4<<20)
	byDefault(&c.MaxChain, 8<<20)
	byDefault(&c.MaxRecords, 10_000)
	byDefault(&c.MaxBytes, 256<<20)
	byDefault(&c.MaxKeylessBytes, c.MaxBytes)
	byDefault(&c.MaxKeylessRecords, c.MaxRecords)
	for _, bound := range []struct {
		name         string
		value, least int64
		most         int64
	}{
		{"ttl in ms", c.TTL.Milliseconds(), 1, 100 * 365 * 24 * time.Hour.Milliseconds()},
		{"max_response", c.MaxResponse, 1, 16 << 20},
		{"max_chain", c.MaxChain, 1, 256 << 20},
		{"max_records", int64(c.MaxRecords), 1, 1 << 40},
		{"max_bytes", c.MaxBytes, 1, 1 << 60},
		{"max_keyless_bytes", c.MaxKeylessBytes, 1, 1 << 60},
		{"max_keyless_records", int64(c.MaxKeylessRecords), 1, 1 << 40},
	} {
		if bound.value < bound.least || bound.value > bound.most {
			return nil, fmt.Errorf("%w: %s is %d; it must be from %d to %d", ErrInvalid, bound.name, bound.value, bound.least, bound.most)
		}
	}
	b, err := newBox(c.Keys)
	if err != nil {
		return nil, err
	}
	return &History{
		c: c, store: s, box: b,
		lease: 30 * time.Second, poll: time.Second, flush: 50 * time.Millisecond, keepEvents: 10 * time.Minute,
		usage: map[string]*usage{}, jobs: map[string]*Job{},
	}, nil
}

func byDefault[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// Tenant is one owner's part of a History. The zero Tenant finds nothing and cannot store. It is a small value, made
// anew for each request.
type Tenant struct {
	h    *History
	name string // as it stands in the names of spaces

	reader *reader // or nil
}

// Tenant returns the part of an owner, for instance of keystore's Record.Owner. Any text will do, but for "", which
// nobody may be. [History.Keyless] is for clients without a key; the two never meet.
func (h *History) Tenant(owner string) Tenant {
	switch {
	case owner == "":
		return Tenant{}
	case plainName(owner, 64):
		return Tenant{h: h, name: owner}
	}
	sum := sha256.Sum256([]byte(owner))
	return Tenant{h: h, name: "~" + hex.EncodeToString(sum[:])}
}

// plainName tells whether s may stand in a space or be an id as it is.
func plainName(s string, most int) bool {
	if s == "" || len(s) > most {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return true
}

// The spaces of a tenant. The braces keep them together on one node of a Redis Cluster.
const (
	responseSpace     = ""      // responses: their items and place in the chain
	echoSpace         = ":e"    // what repeats the request, where that is large
	itemSpace         = ":i"    // where each item is
	conversationSpace = ":k"    // conversations, without their items
	chunkSpace        = ":c:"   // + incarnation: a conversation's items
	eventSpace        = ":v:"   // + response id: a background response's events
	leaseSpace        = ":l"    // who runs a background response
	chatSpace         = ":h"    // chat completions: what lists show and metadata
	chatBodySpace     = ":b"    // chat completions: the rest
	ledgerSpace       = ":u"    // how large each response, conversation and chat completion is, with its pointers
	inlineEcho        = 2 << 10 // larger echoes are kept in echoSpace
)

func (t Tenant) space(kind string) string { return rootSpace + ":{" + t.name + "}" + kind }

// unlisted tells whether a space is never listed, but for by its ids.
func unlisted(kind string) bool { return kind == itemSpace }

// ready refuses the zero Tenant.
func (t Tenant) ready() error {
	if t.h == nil {
		return fmt.Errorf("%w: no tenant; a request without an owner has no history", ErrInvalid)
	}
	return nil
}

// slack is how much longer than its time something may live. Because of it, a chain in daily use has its expiry moved
// once in many turns and not in each.
func slack(ttl time.Duration) time.Duration { return ttl / 16 }

// untilFrom is when something that lives for ttl is removed if it is not used again; 0: never.
func untilFrom(now time.Time, ttl time.Duration) int64 {
	if ttl < 0 {
		return 0
	}
	return now.Add(ttl + slack(ttl)).UnixMilli()
}

// due tells whether what is removed at until must have that moved.
func due(until int64, now time.Time, ttl time.Duration) bool {
	return until != 0 && until < now.Add(ttl+slack(ttl)/2).UnixMilli()
}

func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// get reads one value and opens it. raw is what a later swap must name.
func (t Tenant) get(ctx context.Context, kind, id string) (plain, raw []byte, err error) {
	raw, err = t.raw(ctx, kind, id)
	if err != nil {
		return nil, nil, err
	}
	plain, err = t.open(kind, id, raw)
	return plain, raw, err
}

// raw reads one value as it is stored.
func (t Tenant) raw(ctx context.Context, kind, id string) ([]byte, error) {
	if t.h == nil {
		return nil, ErrNotFound
	}
	raw, err := t.h.store.Get(ctx, t.space(kind), id)
	return raw, t.h.failed(err)
}

func (t Tenant) open(kind, id string, raw []byte) ([]byte, error) {
	plain, err := t.h.box.open(t.space(kind), id, raw)
	if err != nil {
		t.h.count.unreadable.Add(1)
	}
	return plain, err
}

// getMany reads values, nil where there is none.
func (t Tenant) getMany(ctx context.Context, kind string, ids []string) ([][]byte, error) {
	if t.h == nil || len(ids) == 0 {
		return make([][]byte, len(ids)), nil
	}
	raw, err := t.h.store.GetMany(ctx, t.space(kind), ids)
	if err != nil {
		return nil, t.h.failed(err)
	}
	plain := make([][]byte, len(raw))
	for i, v := range raw {
		if v == nil {
			continue
		}
		if plain[i], err = t.open(kind, ids[i], v); err != nil {
			return nil, err
		}
	}
	return plain, nil
}

// put seals plain and puts it where old is; nil: nothing. It returns what is stored now.
func (t Tenant) put(ctx context.Context, kind, id string, old, plain []byte, score, until int64) ([]byte, error) {
	raw := t.h.box.seal(t.space(kind), id, plain)
	return raw, t.swap(ctx, kind, id, old, raw, score, until)
}

// swap is put without sealing.
func (t Tenant) swap(ctx context.Context, kind, id string, old, value []byte, score, until int64) error {
	return t.h.failed(t.h.store.Swap(ctx, store.Change{
		Space: t.space(kind), ID: id, Old: old, New: value, Score: score, Expires: timeOf(until),
	}))
}

func (t Tenant) delete(ctx context.Context, kind, id string) error {
	return t.h.failed(t.h.store.Delete(ctx, t.space(kind), id))
}

// gone is nil for what was not there anyway.
func gone(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
