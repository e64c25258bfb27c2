// Package store is a small map from names to bytes: read, compare-and-swap, expiry, and pages in order.
//
// Keys and conversations are kept in it. There are three stores, each a Caddy guest module in the namespace
// http.chat2response.stores: memory, bbolt (one file, one process) and redis (many gateways). They pass one suite,
// store/storetest, which is the place to look when a word here is not clear, and the first thing to run against a
// fourth.
//
// A value has a place: a space ("keys", "state:{tenant}") and an id in it. A space costs nothing until something is
// in it. The version of a value is the value: [Store.Swap] says what it believes is there, byte for byte, and is
// refused when it is wrong. That is the one way to write, so no writer can undo what it has not seen.
package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// MaxValue is the largest value a store takes, in bytes.
const MaxValue = 32 << 20

// maxScore is as far as a float64, which is how Redis keeps a score, counts every integer.
const maxScore = 1 << 53

// MaxPage is the most entries one [Store.List] returns; a Page that asks for more, or for none, gets this many or
// DefaultPage.
const (
	MaxPage     = 1000
	DefaultPage = 100
)

// The errors of a store. Every error wraps one of these or the context's own.
var (
	// ErrNotFound: there is no such value, or it has expired.
	ErrNotFound = errors.New("not found")
	// ErrConflict: what is stored is not what Change.Old says. Read again, and decide again.
	ErrConflict = errors.New("changed by someone else")
	// ErrClosed: the store's last holder has closed it.
	ErrClosed = errors.New("store is closed")
	// ErrUnavailable: the database did not answer, or answered that it cannot serve. Whether a write was made is
	// not known. It is never a statement about the value.
	ErrUnavailable = errors.New("store is unavailable")
	// ErrCorrupt: the database's file is damaged. Nothing was repaired or overwritten.
	ErrCorrupt = errors.New("store is corrupt")
	// ErrFull: the store's own bound (memory's max_bytes) would be passed. Nothing was written.
	ErrFull = errors.New("store is full")
	// ErrNotDurable: the write was made, and fewer replicas than min_replicas confirmed it in time.
	ErrNotDurable = errors.New("written, but not confirmed by enough replicas")
	// ErrClockSkew: the database answers, and its clock is more than 30 s away from ours. Only Ping says so.
	ErrClockSkew = errors.New("clock differs from the database's")
	// ErrName: a space or an id that no store takes, or a value that is empty or larger than MaxValue.
	ErrName = errors.New("not a storable name or value")
)

// Store is a map from (space, id) to bytes. All methods may be called at once from many goroutines, before and after
// Close; after the last holder's Close they return [ErrClosed]. Values returned are shared and must not be changed;
// values given are not kept.
type Store interface {
	// Get returns the value at (space, id), or ErrNotFound.
	Get(ctx context.Context, space, id string) ([]byte, error)

	// GetMany returns the values of ids, in their order; nil where there is none. On Redis it is one round trip.
	GetMany(ctx context.Context, space string, ids []string) ([][]byte, error)

	// Swap makes one change if what is stored is what c.Old says, else returns ErrConflict. It is atomic, and
	// durable when it returns nil as far as the database is (bbolt: fsync; Redis: its appendfsync).
	Swap(ctx context.Context, c Change) error

	// SwapMany makes all of the changes or none, in one step that no other writer comes between, and as durable as
	// Swap's. Each is held against what was there before all of them; if any Old is wrong, the error is a
	// [*ConflictError], which names all that are. It is one transaction of bbolt's, and one script, one round trip, of
	// Redis's, however many changes there are, up to [MaxChanges]. All their spaces must have the same text between
	// braces, as "state:{a}" and "state:{a}:i" have, so that a Redis Cluster has them on one node; no value may be
	// changed twice. No changes are no error. After ErrUnavailable all were made, or none.
	SwapMany(ctx context.Context, changes []Change) error

	// Delete removes the value whatever it is, or returns ErrNotFound.
	Delete(ctx context.Context, space, id string) error

	// Extend moves the expiry of those ids that exist and expire to until, never to an earlier time. The others
	// are left as they are.
	Extend(ctx context.Context, space string, ids []string, until time.Time) error

	// List returns one page of a space ordered by (Score, ID). Fewer entries than the page's Limit mean the end.
	// An entry that exists from before the first page until after the last is seen exactly once, whatever is
	// written meanwhile.
	List(ctx context.Context, space string, p Page) ([]Entry, error)

	// Ping returns nil when the database would answer now.
	Ping(ctx context.Context) error

	// Close gives back this holder's share; the last one closes the database. Later calls do nothing.
	Close() error
}

// Remote is a [Store] that other processes write to as well. A reader that wants to keep what it has read asks for
// it by a type assertion: a store that is not Remote answers in microseconds and nothing need be kept.
type Remote interface {
	Store

	// Watch calls f with the id of each value in space that any process has changed with Change.Announce, and with
	// "" when changes may have been missed (after each reconnection): then all that is kept is doubtful. f is
	// called from one goroutine and must not block. Calling stop ends it; f may be running while stop returns.
	Watch(space string, f func(id string)) (stop func())

	// KeepIndexed says that space may hold values that were written by other programs, which know nothing of its
	// order: the store looks for them now and every 10 minutes and files them under the score that f reads out of
	// the value. f returns false for a value that is none of its business.
	KeepIndexed(space string, f func(value []byte) (score int64, ok bool))
}

// Bounded is a [Store] that takes no more than a number of bytes and then answers [ErrFull].
type Bounded interface {
	Store

	// Room returns how many bytes are free and how many there are in all.
	Room() (free, bound int64)
}

// Change is one write: Old nil creates, New nil removes, both replace.
type Change struct {
	Space, ID string
	// Old is what must be there now, byte for byte; nil: nothing. An expired value is nothing.
	Old []byte
	// New is what will be there; nil: nothing. Neither may be empty.
	New []byte
	// Score is the value's place in List, mostly the second or millisecond of its creation. At most 2^53 either
	// way (Redis keeps it as a float64).
	Score int64
	// Expires is when the value is gone by itself, to the millisecond; zero: never.
	Expires time.Time
	// Drop removes whatever is there, or nothing; Old and New are nil then. It never loses.
	Drop bool
	// Unlisted keeps the value out of List, which spares it its place in an order that nobody asks for. It is a
	// property of a space: all changes of one have it or none has.
	Unlisted bool
	// Announce tells the watchers of every process.
	Announce bool
	// Final says that a restored backup must not undo this change (a revocation). Stores that are one file keep
	// such changes in a second one and repeat those that the restored file has not seen.
	Final bool
}

// Position is a place in the order of a space.
type Position struct {
	Score int64
	ID    string
}

// Compare orders positions as List does.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Score, q.Score), strings.Compare(p.ID, q.ID))
}

// Page is a part of a space.
type Page struct {
	// After is the last position seen, whether or not it still exists; zero: from the start (Reverse: from the end).
	After Position
	// Limit is the most entries wanted; 0: DefaultPage; at most MaxPage.
	Limit int
	// Reverse lists from the highest position down.
	Reverse bool
}

func (p Page) limit() int {
	if p.Limit <= 0 {
		return DefaultPage
	}
	return min(p.Limit, MaxPage)
}

// Entry is one value in its place.
type Entry struct {
	Position
	Value []byte
}

// check refuses a change that not every store could make.
func (c Change) check() error {
	if c.Drop && (c.Old != nil || c.New != nil) {
		return fmt.Errorf("%w: a removal of whatever is at %s/%s that names values", ErrName, c.Space, c.ID)
	}
	if c.Old == nil && c.New == nil && !c.Drop {
		return fmt.Errorf("%w: a change of nothing into nothing at %s/%s", ErrName, c.Space, c.ID)
	}
	if (c.Old != nil && len(c.Old) == 0) || (c.New != nil && len(c.New) == 0) || len(c.New) > MaxValue {
		return fmt.Errorf("%w: value of %d bytes at %s/%s; 1 to %d are possible", ErrName, len(c.New), c.Space, c.ID, MaxValue)
	}
	if c.Score > maxScore || c.Score < -maxScore {
		return fmt.Errorf("%w: score %d at %s/%s is beyond 2^53", ErrName, c.Score, c.Space, c.ID)
	}
	return checkNames(c.Space, c.ID)
}

// checkNames allows what is plain in a Redis key and in a bbolt key: printable ASCII, and no colon in an id, so that
// the last colon of "space:id" divides.
func checkNames(space string, ids ...string) error {
	if !printable(space, 200) {
		return fmt.Errorf("%w: space %.80q: 1 to 200 printable ASCII characters", ErrName, space)
	}
	for _, id := range ids {
		if !printable(id, 256) || strings.IndexByte(id, ':') >= 0 {
			return fmt.Errorf("%w: id %.80q: 1 to 256 printable ASCII characters and no colon", ErrName, id)
		}
	}
	return nil
}

func printable(s string, most int) bool {
	if s == "" || len(s) > most {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// millis is t in Unix milliseconds, rounded up so that nothing expires early; 0 for the zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(1, t.Add(time.Millisecond-1).UnixMilli())
}
