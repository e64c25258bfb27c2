package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labiium/chat2response/store"
)

// What a tenant has is in its ledger: beside each response, conversation and chat completion a small entry with its
// size, which the store lets expire with it. An entry is written and removed together with what it stands for (but for
// a conversation's, which is removed last), so a tenant has never less on its account than there is. Reading the ledger
// is the whole truth; a sum kept in this process saves reading it at each write.
//
// Within one process the caps hold exactly: room is reserved, and made, before anything is written. Other processes
// on the same Redis are seen at the next recount, so with n gateways a tenant may pass its caps by what the others
// write in recountRemote.
const (
	recountRemote = 10 * time.Second
	recountLocal  = time.Minute
	// inFlight is how long an entry may be without the record it announces, as earlier versions write them, which may
	// run beside this one. Older ones were left by a crash.
	inFlight = 5 * time.Minute
	// keptUsages is how many tenants' sums are kept in memory.
	keptUsages = 10_000
)

// kind of a ledger entry, the first byte of its value. The size follows in decimal digits.
const (
	isResponse     = 'r'
	isConversation = 'c'
	isChat         = 'h'
)

// usage is what a tenant has, as this process knows it.
type usage struct {
	mu      sync.Mutex // of whoever reserves, recounts or makes room
	counted time.Time
	grant   grant       // of a stranger, as it was seen last
	unsure  atomic.Bool // an act was not answered: perhaps there is more than the sums say

	// gate is held for reading around a change of the ledger and of the sums, and for writing while the ledger is
	// read, so that a recount sees both or neither.
	gate           sync.RWMutex
	records, bytes atomic.Int64
	// What was reserved and is not in the ledger yet.
	pendingRecords, pendingBytes atomic.Int64
}

func (u *usage) fits(c *Config, records, size int64) bool {
	// Pending first: what moves from there to the ledger in between is then counted twice and not left out.
	records += u.pendingRecords.Load()
	size += u.pendingBytes.Load()
	return u.records.Load()+records <= int64(c.MaxRecords) && u.bytes.Load()+size <= c.MaxBytes
}

func (h *History) usageOf(name string) *usage {
	h.mu.Lock()
	defer h.mu.Unlock()
	if u := h.usage[name]; u != nil {
		return u
	}
	for other, u := range h.usage { // any that nothing is written for: it is counted again when it is needed
		if len(h.usage) < keptUsages {
			break
		}
		if u.pendingRecords.Load() == 0 && u.pendingBytes.Load() == 0 {
			delete(h.usage, other)
		}
	}
	u := &usage{}
	h.usage[name] = u
	return u
}

// ledgerID and ledgerValue make an entry; parseLedger reads one.
func ledgerID(kind byte, id string) string { return string(kind) + "." + id }

// ledgerValue is a size and, of a conversation, the number of its last chunk and its incarnation, by which the entry is
// another's than that of one that bore its id before.
func ledgerValue(size, turn int64, incarnation string) []byte {
	value := fmt.Appendf(nil, "%d %d", size, turn)
	if incarnation != "" {
		value = fmt.Appendf(value, " %s", incarnation)
	}
	return value
}

func parseValue(value []byte) (size, turn int64) {
	fields := strings.Fields(string(value))
	for len(fields) < 2 {
		fields = append(fields, "")
	}
	size, _ = strconv.ParseInt(fields[0], 10, 64)
	turn, _ = strconv.ParseInt(fields[1], 10, 64)
	return size, turn
}

// reservation is room for what is about to be written. It must be used by a batch, or given back by free.
type reservation struct {
	u             *usage
	records, size int64
}

func (r *reservation) free() {
	if r.u != nil {
		r.u.pendingRecords.Add(-r.records)
		r.u.pendingBytes.Add(-r.size)
		r.u = nil
	}
}

// reserve makes room for so many more records and bytes, by removing the oldest if need be; those that the ledger has
// as spare, which are being continued, only if there are no others.
//
// What is to be written lives until then, in Unix ms.
func (t Tenant) reserve(ctx context.Context, records, size, until int64, spare ...string) (*reservation, error) {
	h := t.h
	if size > h.c.MaxBytes {
		return nil, fmt.Errorf("%w: it is %d bytes, and everything of one owner may be %d (max_bytes)", ErrTooLarge, size, h.c.MaxBytes)
	}
	if err := h.crowdOut(ctx, size, t, spare); err != nil {
		return nil, err
	}
	u := h.usageOf(t.name)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.unsure.Swap(false) || time.Since(u.counted) > h.recountEvery() {
		if err := t.recount(ctx, u); err != nil {
			return nil, err
		}
		if t.stranger() {
			t.giveBack(ctx, u)
		}
	}
	if !u.fits(&h.c, records, size) {
		if err := t.makeRoom(ctx, u, records, size, spare); err != nil {
			return nil, err
		}
	}
	if t.stranger() {
		if err := t.share(ctx, u, records, size, until, spare); err != nil {
			return nil, err
		}
	}
	u.pendingRecords.Add(records)
	u.pendingBytes.Add(size)
	return &reservation{u, records, size}, nil
}

// recountEvery is how long a sum is good for.
func (h *History) recountEvery() time.Duration {
	if _, remote := h.store.(store.Remote); remote {
		return recountRemote
	}
	return recountLocal
}

// quiet waits a moment for what is being written for the tenant, and holds the gate if it returns true. Whoever needs
// room is told soon that there is none.
func (u *usage) quiet(ctx context.Context) bool {
	for range 50 {
		if u.gate.TryLock() {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(4 * time.Millisecond):
		}
	}
	return false
}

func (t Tenant) recount(ctx context.Context, u *usage) error {
	u.gate.Lock()
	defer u.gate.Unlock()
	return t.recountAlone(ctx, u)
}

// recountAlone is recount with the gate held.
func (t Tenant) recountAlone(ctx context.Context, u *usage) error {
	t.h.count.recounts.Add(1)
	records, total := int64(0), int64(0)
	err := t.ledger(ctx, store.MaxPage, func(e store.Entry) (bool, error) {
		size, _ := parseValue(e.Value)
		records++
		total += size
		return true, nil
	})
	if err != nil {
		return err
	}
	u.records.Store(records)
	u.bytes.Store(total)
	u.counted = time.Now()
	return nil
}

// Known reports whether anything is stored for the tenant. It reads one entry of its ledger.
func (t Tenant) Known(ctx context.Context) (bool, error) {
	if t.h == nil {
		return false, nil
	}
	page, err := t.h.store.List(ctx, t.space(ledgerSpace), store.Page{Limit: 1})
	return len(page) > 0, t.h.failed(err)
}

// ledger calls f with each entry, the oldest first, until f returns false.
func (t Tenant) ledger(ctx context.Context, limit int, f func(store.Entry) (bool, error)) error {
	for p := (store.Page{Limit: limit}); ; {
		page, err := t.h.store.List(ctx, t.space(ledgerSpace), p)
		if err != nil {
			return t.h.failed(err)
		}
		for _, e := range page {
			if more, err := f(e); err != nil || !more {
				return err
			}
			p.After = e.Position
		}
		if len(page) < limit {
			return nil
		}
	}
}

// makeRoom removes the oldest until so much more fits.
func (t Tenant) makeRoom(ctx context.Context, u *usage, records, size int64, spare []string) error {
	c := &t.h.c
	err := t.evict(ctx, u, spare, func() bool { return u.fits(c, records, size) })
	if err == nil && len(spare) > 0 && !u.fits(c, records, size) {
		return t.makeRoom(ctx, u, records, size, nil)
	}
	if err == nil && !u.fits(c, records, size) {
		// The sum was too high (something expired), or all there is is being written at this moment.
		if u.quiet(ctx) {
			err = t.recountAlone(ctx, u)
			u.gate.Unlock()
		}
		if err == nil && !u.fits(c, records, size) {
			err = fmt.Errorf("%w: %d bytes more find no room beside what is being written for the same owner", ErrUnavailable, size)
		}
	}
	return err
}

// evict removes the oldest until it is enough, or there is no more.
func (t Tenant) evict(ctx context.Context, u *usage, spare []string, enough func() bool) error {
	return t.ledger(ctx, 32, func(e store.Entry) (bool, error) {
		if enough() {
			return false, nil
		}
		if len(e.ID) < 3 || slices.Contains(spare, e.ID) {
			return true, nil
		}
		err := t.remove(ctx, e.ID[0], e.ID[2:])
		if errors.Is(err, ErrNotFound) {
			if time.Since(time.UnixMicro(e.Score)) < inFlight {
				return true, nil // its record is being written
			}
			b := t.batch()
			b.swap(ledgerSpace, e.ID, e.Value, nil, 0, 0, nil)
			if err = b.commit(ctx, nil); errors.Is(err, ErrConflict) {
				return true, nil
			}
		}
		if err != nil {
			return false, err
		}
		t.h.count.evicted.Add(1)
		return true, nil
	})
}

// crowdOut makes room for so many more bytes in a store with a bound of its own, where all owners together may reach it
// before one of them reaches MaxBytes: the oldest of whoever has the most gives way, strangers first. For a stranger only
// its own give way, and the last eighth is not for strangers. What this process has written nothing for since its start,
// or a change of the settings, is not known, and stays.
func (h *History) crowdOut(ctx context.Context, size int64, asks Tenant, spare []string) error {
	s, ok := h.store.(store.Bounded)
	if !ok {
		return nil
	}
	_, bound := s.Room()
	need := min(2*size+bound/8, bound/2) // names and book-keeping, and what others write meanwhile
	missing := func() int64 {
		free, _ := s.Room()
		return need - free
	}
	if missing() <= 0 {
		return nil
	}
	if asks.stranger() {
		return h.crowdOutSelf(ctx, asks, spare, missing)
	}
	h.crowd.Lock()
	defer h.crowd.Unlock()
	tried := map[string]bool{}
	for missing() > 0 {
		name, u := h.largest(tried)
		if u == nil {
			return nil // the store says what is missing
		}
		t, kept, removed := Tenant{h: h, name: name}, []string(nil), 0
		if name == asks.name {
			kept = spare
		}
		u.mu.Lock()
		before := u.records.Load()
		err := t.evict(ctx, u, kept, func() bool {
			removed = int(before - u.records.Load())
			return removed >= 32 || missing() <= 0 // by then another may have the most
		})
		u.mu.Unlock()
		if err != nil {
			return err
		}
		tried[name] = removed < 32
	}
	return nil
}

// crowdOutSelf is crowdOut for a stranger. It gives up nothing unless that is enough.
func (h *History) crowdOutSelf(ctx context.Context, asks Tenant, spare []string, missing func() int64) error {
	u := h.usageOf(asks.name)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.counted.IsZero() {
		if err := asks.recount(ctx, u); err != nil {
			return err
		}
	}
	for _, kept := range [][]string{spare, nil} {
		if u.bytes.Load() < missing() {
			break
		}
		if err := asks.evict(ctx, u, kept, func() bool { return missing() <= 0 }); err != nil {
			return err
		}
		if missing() <= 0 {
			return nil
		}
	}
	return fmt.Errorf("%w: the store is nearly full, and nothing of another's gives way to a client without a key", ErrFull)
}

// largest is the usage of who has the most bytes, but for those who were tried; a stranger's, while there is one.
func (h *History) largest(tried map[string]bool) (name string, most *usage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var stranger bool
	for n, u := range h.usage {
		size := u.bytes.Load()
		if size <= 0 || tried[n] {
			continue
		}
		is := Tenant{name: n}.stranger()
		if most == nil || is && !stranger || is == stranger && size > most.bytes.Load() {
			name, most, stranger = n, u, is
		}
	}
	return name, most
}

// remove removes what a ledger entry stands for, and the entry. A reader that comes meanwhile finds it whole or not at
// all.
func (t Tenant) remove(ctx context.Context, kind byte, id string) error {
	switch kind {
	case isResponse:
		return t.removeResponse(ctx, id)
	case isConversation:
		return t.removeConversation(ctx, id)
	case isChat:
		return t.removeChat(ctx, id)
	}
	return nil
}

// strike takes an entry off the ledger, as it is now, if there is one.
func (b *batch) strike(ctx context.Context, entry string) error {
	old, err := b.t.raw(ctx, ledgerSpace, entry)
	if err = gone(err); err != nil || old == nil {
		return err
	}
	b.swap(ledgerSpace, entry, old, nil, 0, 0, nil)
	return nil
}
