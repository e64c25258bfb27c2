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
	lookupTimeout = time.Second
	lookupsAtOnce = 64
)

// errTooManyLookups: strangers who try ids at random must not take every connection to the store from the others.
var errTooManyLookups = errors.New("64 key lookups are in flight; no more are begun")

// cache holds records of a store that is a network away. It holds records, not verdicts: secret, revocation and expiry
// are checked at each use. What does not exist has a place of its own, so that a flood of invented ids cannot push out
// keys that are in use.
//
// drop is what makes a revocation immediate: after it returns, neither an entry nor a lookup that was begun before it
// can answer a request that comes after it.
type cache struct {
	ttl, stale time.Duration
	now        func() time.Time
	log        *zap.Logger
	fetch      func(context.Context, string) (*Key, error)

	mu      sync.Mutex
	known   *lru[cached]
	unknown *lru[time.Time]
	flights map[string]*flight
	running int

	hits, misses, negatives atomic.Uint64
}

type cached struct {
	key *Key
	at  time.Time
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
		fetch: func(ctx context.Context, id string) (*Key, error) {
			key, _, err := k.read(ctx, id)
			return key, err
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
	f := c.flights[id]
	if f != nil {
		c.mu.Unlock()
		select {
		case <-f.done:
			return f.key, f.err
		case <-ctx.Done():
			return nil, ErrStoreUnavailable.because(ctx.Err())
		}
	}
	if c.running >= lookupsAtOnce {
		c.mu.Unlock()
		return nil, ErrStoreUnavailable.because(errTooManyLookups)
	}
	f = &flight{done: make(chan struct{}), err: ErrStoreUnavailable}
	c.flights[id] = f
	c.running++
	c.mu.Unlock()

	// The first caller makes the lookup for all, so it must not end with the first caller's request.
	defer c.land(id, f)
	lookup, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
	defer cancel()
	f.key, f.err = c.fetch(lookup, id)
	if f.err != nil {
		f.key, f.err = c.last(id, f.err)
	} else {
		c.keep(id, f, now)
	}
	return f.key, f.err
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
	c.known.put(id, cached{f.key, at})
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
	c.running--
	c.mu.Unlock()
	close(f.done)
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

// CacheCounts are what the record cache has answered since New: from a record it had, from knowing that there is none,
// and by a lookup of its own or another's. All zero for a store that needs no cache.
type CacheCounts struct{ Hits, Negatives, Misses uint64 }

// CacheCounts returns the counts so far.
func (k *Keys) CacheCounts() CacheCounts {
	if k.cache == nil {
		return CacheCounts{}
	}
	return CacheCounts{k.cache.hits.Load(), k.cache.negatives.Load(), k.cache.misses.Load()}
}
