package history

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/labiium/chat2response/store"
)

// batch is what one act writes, in the spaces of one tenant: all of it is stored or nothing is, so that nobody who dies,
// or gives up, leaves a part. It is for one goroutine, and used up by commit.
type batch struct {
	t       Tenant
	changes []store.Change
	// again says what to do when change i has lost: it mends the change, or returns why the whole is given up. Without
	// one that is ErrConflict.
	again map[int]func(context.Context, *store.Change) error
	// edits are the changes of pointers, which are mended together.
	edits map[int]edit
}

// edit is a change of a pointer: places that are added, or one that is taken out.
type edit struct {
	add  pointer
	from *place
	same *encoded // shared by edits that mostly write the same; may be nil
}

func (t Tenant) batch() *batch {
	return &batch{t: t, again: map[int]func(context.Context, *store.Change) error{}, edits: map[int]edit{}}
}

// swap adds a change. value nil removes.
func (b *batch) swap(kind, id string, old, value []byte, score, until int64, again func(context.Context, *store.Change) error) {
	if again != nil {
		b.again[len(b.changes)] = again
	}
	b.changes = append(b.changes, store.Change{
		Space: b.t.space(kind), ID: id, Old: old, New: value, Score: score, Expires: timeOf(until), Unlisted: unlisted(kind),
	})
}

// put is swap of a value that is sealed, and returns it so.
func (b *batch) put(kind, id string, old, plain []byte, score, until int64, again func(context.Context, *store.Change) error) []byte {
	raw := b.t.h.box.seal(b.t.space(kind), id, plain)
	b.swap(kind, id, old, raw, score, until, again)
	return raw
}

// drop removes whatever is there.
func (b *batch) drop(kind, id string) {
	b.changes = append(b.changes, store.Change{Space: b.t.space(kind), ID: id, Drop: true, Unlisted: unlisted(kind)})
}

// point files where items are.
func (b *batch) point(p pointing) error {
	if len(p) > maxPointers {
		return fmt.Errorf("%w: %d items have ids of their own; %d are possible at once", ErrTooLarge, len(p), maxPointers)
	}
	same := new(encoded)
	b.changes = slices.Grow(b.changes, len(p))
	if len(b.edits) == 0 {
		b.edits = make(map[int]edit, len(p))
	}
	for key, pointer := range p {
		if err := b.edit(key, nil, edit{add: pointer, same: same}); err != nil {
			return err
		}
	}
	return nil
}

// unpoint takes a place out of pointers. There are at most maxPointers, but for what earlier versions have written: the
// rest of that expires.
func (b *batch) unpoint(ctx context.Context, keys []string, from place) error {
	if len(keys) == 0 {
		return nil
	}
	keys = keys[:min(len(keys), maxPointers)]
	values, err := b.t.h.store.GetMany(ctx, b.t.space(itemSpace), keys)
	if err != nil {
		return b.t.h.failed(err)
	}
	for i, key := range keys {
		if values[i] == nil {
			continue
		}
		if err := b.edit(key, values[i], edit{from: &from}); err != nil {
			return err
		}
	}
	return nil
}

// edit adds the change of one pointer, whose value is old.
func (b *batch) edit(key string, old []byte, e edit) error {
	c := store.Change{Space: b.t.space(itemSpace), ID: key, Unlisted: true}
	if err := e.apply(&c, old); err != nil {
		return err
	}
	b.edits[len(b.changes)] = e
	b.changes = append(b.changes, c)
	return nil
}

// apply makes c the change of what the pointer is now.
func (e edit) apply(c *store.Change, now []byte) error {
	var p pointer
	if now != nil {
		if err := decode(now, &p); err != nil {
			return err
		}
	}
	c.Old, c.New, c.Drop = now, nil, false
	switch {
	case e.from == nil:
		if now == nil {
			p = e.add
		} else {
			p = p.merge(e.add)
		}
	case now == nil:
		c.Drop = true // it is gone; nothing to do
		return nil
	default:
		p = p.without(*e.from)
		if len(p.Places) == 0 {
			return nil
		}
	}
	var err error
	c.New, err = e.encode(p)
	c.Expires = timeOf(p.Until)
	return err
}

// encode is the pointer as it is written. All items of a response that are new have the same, made once.
func (e edit) encode(p pointer) ([]byte, error) {
	if e.same == nil || len(p.Places) != 1 {
		return encode(p)
	}
	if e.same.value == nil || e.same.place != p.Places[0] || e.same.until != p.Until {
		value, err := encode(p)
		if err != nil {
			return nil, err
		}
		*e.same = encoded{p.Places[0], p.Until, value}
	}
	return e.same.value, nil
}

// encoded is a pointer with one place, and how it is written.
type encoded struct {
	place place
	until int64
	value []byte
}

// commit makes the changes, and takes what they change in the ledger onto the account. Changes that have lost against
// others are mended, and the whole is tried again. r is the room that was made, or nil, and is given back.
func (b *batch) commit(ctx context.Context, r *reservation) error {
	u := b.t.h.usageOf(b.t.name)
	u.gate.RLock()
	defer u.gate.RUnlock()
	if r != nil {
		defer r.free() // after the account has grown: too much for a moment, and never too little
	}
	err := b.run(ctx)
	switch {
	case err == nil:
		records, size := b.charge()
		u.records.Add(records)
		u.bytes.Add(size)
	case errors.Is(err, ErrUnavailable), ctx.Err() != nil:
		u.unsure.Store(true) // perhaps it was written
	}
	return err
}

// mostRounds bounds how often one act is tried again.
const mostRounds = 100

func (b *batch) run(ctx context.Context) error {
	for range mostRounds {
		err := b.t.h.store.SwapMany(ctx, b.changes)
		var e *store.ConflictError
		if !errors.As(err, &e) {
			return b.t.h.failed(err)
		}
		if err := b.mend(ctx, e.Lost); err != nil {
			return err
		}
	}
	return fmt.Errorf("what is to be stored was %w %d times in a row; try again", ErrConflict, mostRounds)
}

// mend changes what has lost, in the order it was added, so that who is first says why the whole is given up.
func (b *batch) mend(ctx context.Context, lost []int) error {
	var pointers []int
	for _, i := range lost {
		if _, ok := b.edits[i]; ok {
			pointers = append(pointers, i)
			continue
		}
		again := b.again[i]
		if again == nil {
			return ErrConflict
		}
		if err := again(ctx, &b.changes[i]); err != nil {
			return err
		}
	}
	for some := range slices.Chunk(pointers, 4096) {
		keys := make([]string, len(some))
		for n, i := range some {
			keys[n] = b.changes[i].ID
		}
		values, err := b.t.h.store.GetMany(ctx, b.t.space(itemSpace), keys)
		if err != nil {
			return b.t.h.failed(err)
		}
		for n, i := range some {
			if err := b.edits[i].apply(&b.changes[i], values[n]); err != nil {
				return err
			}
		}
	}
	return nil
}

// charge is what the changes of the ledger come to.
func (b *batch) charge() (records, size int64) {
	ledger := b.t.space(ledgerSpace)
	for i := range b.changes {
		c := &b.changes[i]
		if c.Space != ledger {
			continue
		}
		before, _ := parseValue(c.Old)
		after, _ := parseValue(c.New)
		size += after - before
		if c.Old == nil {
			records++
		}
		if c.New == nil {
			records--
		}
	}
	return records, size
}
