package keystore

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/labiium/chat2response/store"
)

// A key's last use is known to about a minute: noted in memory at most once a minute per key, written back by
// Maintain, never while a request waits.
const (
	useGrain  = 60                   // seconds
	useKept   = 366 * 24 * time.Hour // after it, "never used" is shown
	useWrites = 8                    // write-backs at once
)

type lastUsed struct {
	mu    sync.Mutex
	noted map[string]uint64 // by id, until two minutes after
	dirty map[string]uint64 // to be written
}

func (u *lastUsed) init() { u.noted, u.dirty = map[string]uint64{}, map[string]uint64{} }

// mark notes a use; it returns false when one was noted within the last minute.
func (u *lastUsed) mark(id string, now uint64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if last, ok := u.noted[id]; ok && now < last+useGrain {
		return false
	}
	u.noted[id], u.dirty[id] = now, now
	return true
}

// take returns what is to be written, and forgets what is so old that it would be noted again anyway.
func (u *lastUsed) take(now uint64) map[string]uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	dirty := u.dirty
	u.dirty = map[string]uint64{}
	for id, last := range u.noted {
		if now >= last+2*useGrain {
			delete(u.noted, id)
		}
	}
	return dirty
}

// flushUses writes back, best effort: what cannot be written is lost, and the next use is noted again.
func (k *Keys) flushUses(ctx context.Context) error {
	dirty := k.used.take(k.seconds())
	if len(dirty) == 0 {
		return nil
	}
	type use struct {
		id string
		at uint64
	}
	uses := make(chan use)
	var mu sync.Mutex
	var first error
	var wg sync.WaitGroup
	for range min(useWrites, len(dirty)) {
		wg.Go(func() {
			for u := range uses {
				if err := k.writeUse(ctx, u.id, u.at); err != nil {
					mu.Lock()
					first = err
					mu.Unlock()
				}
			}
		})
	}
	for id, at := range dirty {
		uses <- use{id, at}
	}
	close(uses)
	wg.Wait()
	return first
}

// writeUse moves a key's last use forward. If another node writes at the same moment, its time is as good as ours.
func (k *Keys) writeUse(ctx context.Context, id string, at uint64) error {
	old, err := k.store.Get(ctx, useSpace, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if last, err := strconv.ParseUint(string(old), 10, 64); err == nil && last >= at {
		return nil
	}
	err = k.store.Swap(ctx, store.Change{
		Space: useSpace, ID: id, Old: old, New: strconv.AppendUint(nil, at, 10),
		Score: int64(at), Expires: time.Unix(int64(at), 0).Add(useKept),
	})
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotDurable) {
		return nil
	}
	return err
}

// uses returns the last uses of ids; nil where there is none.
func (k *Keys) uses(ctx context.Context, ids []string) ([]*uint64, error) {
	raw, err := k.store.GetMany(ctx, useSpace, ids)
	if err != nil {
		return nil, err
	}
	times := make([]*uint64, len(ids))
	for i, r := range raw {
		if at, err := strconv.ParseUint(string(r), 10, 64); err == nil {
			times[i] = &at
		}
	}
	return times, nil
}
