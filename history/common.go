package history

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labiium/chat2response/store"
)

// Anybody can invent a bearer token, and each is a tenant. So all keyless tenants that have one share a common cap beside
// their own: what they may hold is granted to them out of it, in steps. A grant is an entry in a space of its own, with
// a number of records and bytes that is at least what the tenant has and at most twice that, and which lives at least as
// long. The sum of all entries is what the cap is held against; every gateway on the store sees it, and a restart changes
// nothing. Like the ledger's it is kept in this process and counted again after a while, so with n gateways the cap may
// be passed by what the others were granted in recountRemote.
//
// When the cap is reached, a tenant makes room by its own oldest. One that has nothing to give is refused (ErrFull):
// nobody's records are pushed out by a stranger. What keyless tenants had before there were grants counts from their
// next write on.
const (
	grantSpace = rootSpace + ":{+}" // one value for each tenant; + alone is no tenant's name
	leastGrant = 4 << 10
)

// stranger tells whether the tenant is one that anybody can invent. Who sends no token at all is not: that is the
// machine's own user.
func (t Tenant) stranger() bool { return strings.HasPrefix(t.name, "+") && t.name != anonymousName }

// grant is what a tenant may have out of the common cap.
type grant struct {
	records, bytes int64
	until          int64 // Unix ms; 0: for ever
	raw            []byte
}

func (g grant) covers(records, bytes int64) bool { return records <= g.records && bytes <= g.bytes }

func parseGrant(raw []byte) (g grant) {
	g.raw = raw
	for i, field := range strings.Fields(string(raw)) {
		n, _ := strconv.ParseInt(field, 10, 64)
		switch i {
		case 0:
			g.records = n
		case 1:
			g.bytes = n
		case 2:
			g.until = n
		}
	}
	return g
}

// lives tells whether the grant is there for what lives until then.
func (g grant) lives(until int64) bool { return g.raw != nil && later(g.until, until) == g.until }

func (g grant) value() []byte { return fmt.Appendf(nil, "%d %d %d", g.records, g.bytes, g.until) }

// common is the sum of all grants as this process knows it. It holds none of them, so it does not grow by tenants.
type common struct {
	mu             sync.Mutex
	counted        time.Time
	records, bytes int64
}

func grantID(name string) string { return strings.TrimPrefix(name, "+") }

// countCommon reads all grants, unless that was done lately.
// It is called with the common lock held.
func (h *History) countCommon(ctx context.Context, every time.Duration) error {
	c := &h.common
	if !c.counted.IsZero() && time.Since(c.counted) <= every {
		return nil
	}
	records, bytes := int64(0), int64(0)
	for p := (store.Page{Limit: store.MaxPage}); ; {
		page, err := h.store.List(ctx, grantSpace, p)
		if err != nil {
			return h.failed(err)
		}
		for _, e := range page {
			g := parseGrant(e.Value)
			records, bytes, p.After = records+g.records, bytes+g.bytes, e.Position
		}
		if len(page) < p.Limit {
			break
		}
	}
	c.records, c.bytes, c.counted = records, bytes, time.Now()
	return nil
}

// share makes sure that a stranger may have so much more out of the common cap, by its own oldest if need be. The usage is
// locked by the caller.
func (t Tenant) share(ctx context.Context, u *usage, records, size, until int64, spare []string) error {
	for _, kept := range [][]string{spare, nil} {
		total := func() (int64, int64) {
			return u.records.Load() + u.pendingRecords.Load() + records, u.bytes.Load() + u.pendingBytes.Load() + size
		}
		allRecords, allBytes := total()
		ok, free, err := t.granted(ctx, u, allRecords, allBytes, until)
		if ok || err != nil {
			return err
		}
		if !free.covers(u.pendingRecords.Load()+records, u.pendingBytes.Load()+size) {
			break // not even if it gives up everything
		}
		err = t.evict(ctx, u, kept, func() bool { return free.covers(total()) })
		if err != nil {
			return err
		}
		allRecords, allBytes = total()
		if ok, _, err = t.granted(ctx, u, allRecords, allBytes, until); ok || err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: clients without a key have %d bytes in %d records in common (max_keyless_bytes, max_keyless_records), and those are taken",
		ErrFull, t.h.c.MaxKeylessBytes, t.h.c.MaxKeylessRecords)
}

// granted sees to it that a stranger that will have so much has a grant for it which lives until then. It reports whether
// there is one. free is what the tenant could have at most.
func (t Tenant) granted(ctx context.Context, u *usage, records, bytes, until int64) (ok bool, free grant, err error) {
	h := t.h
	if u.grant.covers(records, bytes) && u.grant.lives(until) {
		return true, free, nil
	}
	h.common.mu.Lock()
	defer h.common.mu.Unlock()
	if err := h.countCommon(ctx, h.recountEvery()); err != nil {
		return false, free, err
	}
	for {
		raw, err := h.store.Get(ctx, grantSpace, grantID(t.name))
		if err = gone(h.failed(err)); err != nil {
			return false, free, err
		}
		has := grant{}
		if raw != nil {
			has = parseGrant(raw)
		}
		free = grant{
			records: int64(h.c.MaxKeylessRecords) - h.common.records + has.records,
			bytes:   h.c.MaxKeylessBytes - h.common.bytes + has.bytes,
		}
		if has.covers(records, bytes) && has.lives(until) {
			u.grant = has
			return true, free, nil
		}
		next := grant{records: max(has.records, records), bytes: max(has.bytes, bytes), until: outlive(until)}
		if !free.covers(next.records, next.bytes) {
			return false, free, nil
		}
		if raw != nil {
			next.until = later(has.until, next.until)
		}
		next.records = max(next.records, min(roundUp(records, 1), free.records))
		next.bytes = max(next.bytes, min(roundUp(bytes, leastGrant), free.bytes))
		if err = t.putGrant(ctx, has, next); err == nil {
			next.raw = next.value()
			u.grant = next
			return true, free, nil
		}
		if !errors.Is(err, ErrConflict) {
			return false, free, err
		}
	}
}

// putGrant replaces a grant, with the common lock held. One of nothing is removed.
func (t Tenant) putGrant(ctx context.Context, has, next grant) error {
	c := store.Change{Space: grantSpace, ID: grantID(t.name), Old: has.raw, Score: time.Now().UnixMicro(), Expires: timeOf(next.until)}
	if next.records > 0 || next.bytes > 0 {
		c.New = next.value()
	}
	if err := t.h.failed(t.h.store.Swap(ctx, c)); err != nil {
		return err
	}
	t.h.common.records += next.records - has.records
	t.h.common.bytes += next.bytes - has.bytes
	return nil
}

// giveBack lowers a stranger's grant to what it has, where that is much less. It is tried; the next recount of the tenant
// tries again.
func (t Tenant) giveBack(ctx context.Context, u *usage) {
	h := t.h
	u.grant = grant{} // another gateway may have changed it
	records, bytes := u.records.Load()+u.pendingRecords.Load(), u.bytes.Load()+u.pendingBytes.Load()
	h.common.mu.Lock()
	defer h.common.mu.Unlock()
	raw, err := h.store.Get(ctx, grantSpace, grantID(t.name))
	if err != nil {
		return
	}
	has := parseGrant(raw)
	next := grant{until: has.until}
	if records > 0 {
		next.records, next.bytes = roundUp(records, 1), roundUp(bytes, leastGrant)
	}
	if next.records > has.records/2 && next.bytes > has.bytes/2 {
		return
	}
	next.records, next.bytes = min(next.records, has.records), min(next.bytes, has.bytes)
	_ = t.putGrant(ctx, has, next)
}

// outlive is when a grant ends for something that lives until then: later, so that it is not written each time.
func outlive(until int64) int64 {
	if until == 0 {
		return 0
	}
	return until + slack(time.Until(time.UnixMilli(until))).Milliseconds() + 1
}

// lessen gives back, after a removal that a client has asked for, what a stranger does not need any more.
func (t Tenant) lessen(ctx context.Context) {
	if !t.stranger() {
		return
	}
	u := t.h.usageOf(t.name)
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.counted.IsZero() {
		t.giveBack(ctx, u)
	}
}

// keepGrant keeps a stranger's grant as long as what was prolonged until then.
func (t Tenant) keepGrant(ctx context.Context, until int64) {
	if t.stranger() {
		_ = t.h.store.Extend(ctx, grantSpace, []string{grantID(t.name)}, timeOf(until))
	}
}

// roundUp is the next power of two.
func roundUp(n, least int64) int64 {
	up := least
	for up < n {
		up *= 2
	}
	return up
}
