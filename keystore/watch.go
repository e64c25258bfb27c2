package keystore

import (
	"context"
	"sync"
	"time"
)

const (
	watchEvery = 5 * time.Second // how often the records of watched keys are read, whatever the change feed says
	watchReads = 8               // of them at one time
)

// watches are who wants to know when a key ends, in all configurations of this process: a revocation that comes in by a
// new one ends what runs under the old. There is one for each running request at most.
type watches struct {
	mu   sync.Mutex
	byID map[string]map[*watch]struct{}
}

type watch struct {
	home *Keys
	key  *Key
	tell func(error)
}

// Watch calls f when a key that has been verified ends before its time, so that what runs under it can be ended:
//
//   - ErrRevoked: it was revoked;
//   - ErrExpired: its end was moved nearer, by SetExpiration or Rotate, and has come. The end that it had when it was
//     verified is none of this: a request may outlive that, and who does not want it asks Recheck;
//   - ErrInvalidKey: its record is gone.
//
// f is called in a goroutine of its own, at most once, perhaps before Watch returns. stop ends the watch, and must be
// called; f may be running then.
//
// How long it takes: what this process does to the key is told at once, on every store and in every configuration that
// shares Limits, a nearer end that lies ahead within 5 s of its coming. What other gateways do on Redis is told when
// its change feed says so, in general within milliseconds, and within 5 s when the feed is cut. While Redis does not
// answer nothing is told, since nothing is known; within 5 s after it does.
func (k *Keys) Watch(key *Key, f func(error)) (stop func()) {
	w := &watch{k, key, f}
	k.Limits.watches.add(w)
	k.followWatches()
	// The key may have ended between Verify and now. What is at hand says so; where nothing is, somebody has dropped it,
	// and it is read again.
	if record, known := k.atHand(key.ID); !known {
		k.news.add(key.ID)
	} else if err := w.verdict(record, k.seconds()); err != nil {
		k.Limits.watches.tell(key.ID, func(other *watch) error {
			if other == w {
				return err
			}
			return nil
		})
	}
	return func() { k.Limits.watches.remove(w) }
}

func (l *watches) add(w *watch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byID == nil {
		l.byID = map[string]map[*watch]struct{}{}
	}
	if l.byID[w.key.ID] == nil {
		l.byID[w.key.ID] = map[*watch]struct{}{}
	}
	l.byID[w.key.ID][w] = struct{}{}
}

func (l *watches) remove(w *watch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(w)
}

func (l *watches) drop(w *watch) {
	same := l.byID[w.key.ID]
	delete(same, w)
	if len(same) == 0 {
		delete(l.byID, w.key.ID)
	}
}

// tell ends the watches of a key for which why returns an error.
func (l *watches) tell(id string, why func(*watch) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := range l.byID[id] {
		if err := why(w); err != nil {
			l.drop(w)
			go w.tell(err)
		}
	}
}

// of returns the ids of the keys that are watched by way of home; has reports whether one is.
func (l *watches) of(home *Keys) (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.byID {
		if l.hasLocked(id, home) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (l *watches) has(id string, home *Keys) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hasLocked(id, home)
}

func (l *watches) hasLocked(id string, home *Keys) bool {
	for w := range l.byID[id] {
		if w.home == home {
			return true
		}
	}
	return false
}

// changed tells whoever watches a key what its record says now; nil: it is gone.
func (k *Keys) changed(id string, r *Record) {
	now := k.seconds()
	k.Limits.watches.tell(id, func(w *watch) error { return w.verdict(r, now) })
}

// verdict is what a watch is to be told, if anything.
func (w *watch) verdict(r *Record, now uint64) error {
	if r == nil {
		return ErrInvalidKey
	}
	err := w.home.ended(r, now)
	if err == ErrExpired && !w.endsEarlier(r) {
		return nil
	}
	return err
}

// endsEarlier reports whether a key's end is nearer than it was when the watch began.
func (w *watch) endsEarlier(r *Record) bool {
	if e, ok := w.home.Limits.held.of(r.ID); ok && e.expiresAt != nil {
		return true
	}
	return r.ExpiresAt != nil && (w.key.ExpiresAt == nil || *r.ExpiresAt < *w.key.ExpiresAt)
}

// atHand is a key's record as far as it can be had without waiting for a store that is away; false: it cannot.
func (k *Keys) atHand(id string) (r *Record, known bool) {
	if k.remote {
		return k.cache.atHand(id)
	}
	key, _, err := k.read(context.Background(), id)
	if err != nil {
		return nil, false
	}
	if key == nil {
		return nil, true
	}
	return &key.Record, true
}

// heard is what the change feed of the store says: id has changed, or with "" anything may have.
func (k *Keys) heard(id string) {
	k.cache.drop(id)
	if id != "" {
		k.gate.heard(id, k.Now())
	}
	if id == "" || k.Limits.watches.has(id, k) {
		k.news.add(id)
	}
}

// news are the ids whose records are to be read because of the feed, each once however often it is named.
type news struct {
	mu    sync.Mutex
	ids   map[string]struct{}
	ready chan struct{} // has an element while there are ids
}

func newNews() *news { return &news{ids: map[string]struct{}{}, ready: make(chan struct{}, 1)} }

func (n *news) add(id string) {
	n.mu.Lock()
	n.ids[id] = struct{}{}
	n.mu.Unlock()
	select {
	case n.ready <- struct{}{}:
	default:
	}
}

func (n *news) take() map[string]struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	ids := n.ids
	n.ids = map[string]struct{}{}
	return ids
}

// followWatches reads the records of watched keys, from the first watch until Close.
func (k *Keys) followWatches() {
	k.follow.Do(func() {
		k.background.start(func(ctx context.Context) {
			for {
				select {
				case <-ctx.Done():
					return
				case <-k.news.ready:
				}
				ids := k.news.take()
				if _, all := ids[""]; all {
					k.readWatched(ctx, k.Limits.watches.of(k))
					continue
				}
				var watched []string
				for id := range ids {
					watched = append(watched, id)
				}
				k.readWatched(ctx, watched)
			}
		})
		k.background.start(func(ctx context.Context) {
			tick := time.NewTicker(watchEvery)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				k.readWatched(ctx, k.Limits.watches.of(k))
			}
		})
	})
}

// readWatched reads records anew and tells what they say. What cannot be read is read again with the next tick.
func (k *Keys) readWatched(ctx context.Context, ids []string) {
	todo := make(chan string)
	var wg sync.WaitGroup
	for range min(watchReads, len(ids)) {
		wg.Go(func() {
			for id := range todo {
				key, err := k.reread(ctx, id)
				switch {
				case err != nil:
				case key == nil:
					k.changed(id, nil)
				default:
					k.changed(id, &key.Record)
				}
			}
		})
	}
	for _, id := range ids {
		todo <- id
	}
	close(todo)
	wg.Wait()
}
