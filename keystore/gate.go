package keystore

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/labiium/chat2response/store"
)

// Lookups go to a store that is a network away. Strangers who try ids at random must not take the places of keys that
// are in use, nor the store's time: they have a few places of their own and a few hundred lookups a second that find
// nothing. What finds a key is not counted, so that a gateway that has just started is not held back.
const (
	knownAtOnce   = 48     // lookups of ids that are known; more wait for a place
	strangeAtOnce = 16     // lookups of others; more are refused
	strangeRate   = 200    // a second, of those that find nothing
	strangeBurst  = 1000   // of them at first
	maxKnown      = 10_000 // ids, the most recently used ones
	knownFor      = 24 * time.Hour
)

// errTooManyLookups is why a stranger is told to come back. It is not said to be one: that is not known.
var errTooManyLookups = errors.New("too many lookups of key ids that were not seen before; no more are begun")

// gate lets lookups through.
type gate struct {
	now    func() time.Time
	known  chan struct{} // has an element for each lookup of a known id
	misses *rate.Limiter // has a token for each lookup of another id that may find nothing

	mu      sync.Mutex
	strange int             // lookups of other ids
	seen    *lru[time.Time] // known ids and when they were last seen
}

func newGate(now func() time.Time) *gate {
	return &gate{
		now: now, known: make(chan struct{}, knownAtOnce), misses: rate.NewLimiter(strangeRate, strangeBurst),
		seen: newLRU[time.Time](maxKnown),
	}
}

// saw makes id a known one: somebody had its secret, or it was made here.
func (g *gate) saw(id string) {
	g.mu.Lock()
	g.seen.put(id, g.now())
	g.mu.Unlock()
}

// heard makes id a known one on the word of other gateways, as of a time. It takes nobody's place.
func (g *gate) heard(id string, at time.Time) (room bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, have := g.seen.get(id); !have && isID(id) && len(g.seen.byID) < maxKnown {
		g.seen.put(id, at)
	}
	return len(g.seen.byID) < maxKnown
}

func (g *gate) knows(id string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	at, ok := g.seen.get(id)
	return ok && g.now().Sub(at) < knownFor
}

// enter takes a place. leave gives it back; missed says that the lookup has found that there is no such key.
func (g *gate) enter(ctx context.Context, id string) (leave func(missed bool), err error) {
	if g.knows(id) {
		select {
		case g.known <- struct{}{}:
			return func(bool) { <-g.known }, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if !g.strangerEnters() {
		return nil, errTooManyLookups
	}
	return g.strangerLeaves, nil
}

// strangerEnters takes a place, if there is a token for each lookup that is under way and for this one: which of them
// will need theirs is not known yet.
func (g *gate) strangerEnters() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.strange >= strangeAtOnce || g.misses.TokensAt(g.now()) < float64(g.strange+1) {
		return false
	}
	g.strange++
	return true
}

func (g *gate) strangerLeaves(missed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.strange--
	if missed {
		g.misses.AllowN(g.now(), 1)
	}
}

// fetch reads a record by way of the gate.
func (k *Keys) fetch(ctx context.Context, id string) (*Key, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	leave, err := k.gate.enter(ctx, id)
	if err != nil {
		return nil, ErrStoreUnavailable.because(err)
	}
	key, _, err := k.read(ctx, id)
	leave(key == nil && err == nil)
	return key, err
}

// recall makes those keys known that any gateway has used within a day, so that after a restart, too, they go before
// strangers. Without an answer it does without.
func (k *Keys) recall(ctx context.Context) {
	since := k.Now().Add(-knownFor)
	for p := (store.Page{Limit: store.MaxPage, Reverse: true}); ; {
		page, err := k.store.List(ctx, useSpace, p)
		if err != nil {
			return
		}
		for _, e := range page {
			used := time.Unix(e.Score, 0)
			if used.Before(since) || !k.gate.heard(e.ID, used) {
				return
			}
			p.After = e.Position
		}
		if len(page) < p.Limit {
			return
		}
	}
}
