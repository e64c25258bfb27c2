package keystore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	cacheSize     = 10_000      // records, and as many ids that do not exist
	unknownTTL    = time.Second // how long "there is no such key" is believed
	lookupTimeout = time.Second // with the wait for a place
)

// cache holds records of a store that is a network away. It holds records, not verdicts: secret, revocation and expiry
// are checked at each use. What does not exist has a place of its own, so that a flood of invented ids cannot push out
// keys that are in use.
//
// A record that is in use is read again when half of its time is over, while it goes on to answer, so that a key in
// use does not wait for the store. It is never believed for longer than its time.
//
// drop is what makes a revocation immediate: after it returns, neither an entry nor a lookup that was begun before it
// can answer a request that comes after it.
type cache struct {
	ttl, stale time.Duration
	now        func() time.Time
	log        *zap.Logger
	fetch      func(context.Context, string) (*Key, error)
	inUse      func(id string) bool             // worth reading ahead
	background func(func(context.Context)) bool // runs it until Close; false: it is closed
	read       func(id string, key *Key)        // hears of each record that was read; nil: there is none

	mu      sync.Mutex
	known   *lru[cached]
	unknown *lru[time.Time]
	flights map[string]*flight

	hits, misses, negatives, ahead, shed atomic.Uint64
}

type cached struct {
	key   *Key
	at    time.Time
	asked bool // it has been read ahead, or that was tried
}

// flight is one lookup and those who wait for it.
type flight struct {
	done chan struct{}
	key  *Key
	err  error
}

func newCache(k *Keys) *cache {
	return &cache{
		ttl: k.CacheTTL, stale: k.StaleOnError, now: k.Now, log: k.Log,
		fetch: k.fetch, inUse: k.gate.knows, background: k.background.start,
		read: func(id string, key *Key) {
			if key == nil {
				k.changed(id, nil)
				return
			}
			k.changed(id, &key.Record)
		},
		known: newLRU[cached](cacheSize), unknown: newLRU[time.Time](cacheSize),
		flights: map[string]*flight{},
	}
}

// get returns the record of id, nil if there is none.
func (c *cache) get(ctx context.Context, id string) (*Key, error) {
	c.mu.Lock()
	now := c.now()
	if e, ok := c.known.get(id); ok && now.Sub(e.at) < c.ttl {
		if !e.asked && now.Sub(e.at) >= c.ttl/2 {
			c.readAhead(id, e, now)
		}
		c.mu.Unlock()
		c.hits.Add(1)
		return e.key, nil
	}
	if at, ok := c.unknown.get(id); ok && now.Sub(at) < min(unknownTTL, c.ttl) {
		c.mu.Unlock()
		c.negatives.Add(1)
		return nil, nil
	}
	c.misses.Add(1)
	return c.join(ctx, id, now)
}

// renew reads the record of id, whatever is known of it.
func (c *cache) renew(ctx context.Context, id string) (*Key, error) {
	c.mu.Lock()
	return c.join(ctx, id, c.now())
}

// join waits for the lookup of id that is under way, or makes it. It is called with c.mu held, and gives it back.
func (c *cache) join(ctx context.Context, id string, now time.Time) (*Key, error) {
	if f := c.flights[id]; f != nil {
		c.mu.Unlock()
		select {
		case <-f.done:
			return f.key, f.err
		case <-ctx.Done():
			return nil, ErrStoreUnavailable.because(ctx.Err())
		}
	}
	f := c.begin(id)
	c.mu.Unlock()
	// The first caller makes the lookup for all, so it must not end with the first caller's request.
	c.fly(context.WithoutCancel(ctx), id, f, now)
	return f.key, f.err
}

// readAhead begins a lookup that nobody waits for. One is tried for each entry: when it fails, the first use after the
// entry's time asks again, and waits.
func (c *cache) readAhead(id string, e cached, now time.Time) {
	e.asked = true
	c.known.put(id, e)
	if c.flights[id] != nil || !c.inUse(id) {
		return
	}
	f := c.begin(id)
	if !c.background(func(ctx context.Context) { c.fly(ctx, id, f, now) }) {
		delete(c.flights, id)
		f.err = ErrStoreUnavailable
		close(f.done)
		return
	}
	c.ahead.Add(1)
}

// begin is called with c.mu held; fly must follow.
func (c *cache) begin(id string) *flight {
	f := &flight{done: make(chan struct{}), err: ErrStoreUnavailable}
	c.flights[id] = f
	return f
}

// fly makes the lookup f, begun at a time.
func (c *cache) fly(ctx context.Context, id string, f *flight, begun time.Time) {
	defer c.land(id, f)
	f.key, f.err = c.fetch(ctx, id)
	if f.err == nil {
		c.keep(id, f, begun)
		c.read(id, f.key)
		return
	}
	if errors.Is(f.err, errTooManyLookups) {
		c.shed.Add(1)
		return
	}
	f.key, f.err = c.last(id, f.err)
}

// keep stores what f has found, as of the time it was begun, unless somebody dropped the id meanwhile.
func (c *cache) keep(id string, f *flight, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights[id] != f {
		return
	}
	if f.key == nil {
		c.known.drop(id)
		c.unknown.put(id, at)
		return
	}
	c.unknown.drop(id)
	c.known.put(id, cached{key: f.key, at: at})
}

// last answers for a store that does not, if the operator has allowed it.
func (c *cache) last(id string, err error) (*Key, error) {
	c.mu.Lock()
	e, ok := c.known.get(id)
	c.mu.Unlock()
	if !ok || c.stale == 0 || c.now().Sub(e.at) > c.stale {
		return nil, err
	}
	c.log.Warn("key store does not answer; a record read before is used (stale_on_error)",
		zap.String("key_id", id), zap.Duration("age", c.now().Sub(e.at)), zap.Error(err))
	return e.key, nil
}

func (c *cache) land(id string, f *flight) {
	c.mu.Lock()
	if c.flights[id] == f {
		delete(c.flights, id)
	}
	c.mu.Unlock()
	close(f.done)
}

// atHand returns the record that would answer now; false: none would.
func (c *cache) atHand(id string) (*Record, bool) {
	if c == nil {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.known.get(id); ok && c.now().Sub(e.at) < c.ttl {
		return &e.key.Record, true
	}
	return nil, false
}

// drop forgets id, and everything when id is "": the feed was cut, and what has changed is not known. A nil cache has
// nothing to forget.
func (c *cache) drop(id string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if id == "" {
		c.known.clear()
		c.unknown.clear()
		clear(c.flights)
		return
	}
	c.known.drop(id)
	c.unknown.drop(id)
	delete(c.flights, id)
}

// CacheCounts are what the record cache has answered since New. All are zero for a store that needs no cache.
type CacheCounts struct {
	Hits      uint64 // from a record that it had
	Negatives uint64 // from knowing that there is none
	Misses    uint64 // by a lookup of its own, or another's
	Ahead     uint64 // lookups of records in use, before their time was over, that nobody waited for
	Shed      uint64 // misses that were refused: too many ids that were not seen before
}

// CacheCounts returns the counts so far.
func (k *Keys) CacheCounts() CacheCounts {
	if k.cache == nil {
		return CacheCounts{}
	}
	c := k.cache
	return CacheCounts{
		Hits: c.hits.Load(), Negatives: c.negatives.Load(), Misses: c.misses.Load(),
		Ahead: c.ahead.Load(), Shed: c.shed.Load(),
	}
}
