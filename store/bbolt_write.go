package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/zap"
)

// The values of [Bbolt.Sync].
const (
	SyncAlways   = "always"
	SyncInterval = "interval"
	SyncNever    = "never"
)

// within is how soon a write must be on the disk.
type within time.Duration

const (
	always within = 0 // before it is acknowledged
	never  within = -1
)

// queue is the writers that wait for a commit. One of them, the leader, commits for all that wait with it; then those
// that have come meanwhile have a leader of their own. So many writers share an fsync, a single one waits for nobody
// (bbolt's own Batch delays a lone writer by 10 ms), and nobody commits for ever.
type queue struct {
	mu      sync.Mutex
	waiting []*write
	busy    bool // there is a leader
}

// write is one writer in the queue. apply changes the transaction, or returns ErrConflict or ErrNotFound having
// changed nothing; any other error undoes the whole transaction, for all who share it.
type write struct {
	apply  func(*buckets) error
	finals []*Change // to be put in the journal when apply succeeded
	sync   within

	err  error
	turn chan bool // true: lead; false: it is done
}

// join puts w in the queue and reports whether it is to lead.
func (q *queue) join(w *write) (lead bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lead, q.busy = !q.busy, true
	if !lead {
		w.turn = make(chan bool, 1)
	}
	q.waiting = append(q.waiting, w)
	return lead
}

// take returns all that wait.
func (q *queue) take() (all []*write) {
	q.mu.Lock()
	defer q.mu.Unlock()
	all, q.waiting = q.waiting, nil
	return all
}

// pass makes the first of those who wait the leader, if there is one.
func (q *queue) pass() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.busy = len(q.waiting) > 0; q.busy {
		q.waiting[0].turn <- true
	}
}

func (b *boltDB) update(ctx context.Context, w *write) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !b.queue.join(w) && !<-w.turn {
		return w.err
	}
	all := b.queue.take()
	err := b.commit(all)
	for _, other := range all {
		if err != nil {
			other.err = err
		}
		if other != w {
			other.turn <- false
		}
	}
	b.queue.pass()
	return w.err
}

// commit writes for all of them. Only the leader calls it.
func (b *boltDB) commit(all []*write) error {
	soonest := never
	for _, w := range all {
		if soonest == never || w.sync != never && w.sync < soonest {
			soonest = w.sync
		}
		if len(w.finals) > 0 {
			soonest = always
		}
	}
	err := b.safely(func() error {
		b.db.NoSync = soonest != always // read by nobody but this transaction's commit
		return b.db.Update(func(tx *bbolt.Tx) error { return b.applyAll(tx, all) })
	})
	switch {
	case err == nil && soonest == always:
		b.dirty.Store(false) // an fsync is one of the whole file
	case err == nil:
		b.dirty.Store(true)
		if soonest != never {
			select {
			case b.unsynced <- time.Duration(soonest):
			default: // there is word already
			}
		}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w: bbolt: writing %s: %w", ErrUnavailable, ErrFull, b.path, err)
	case !errors.Is(err, ErrClosed) && !errors.Is(err, ErrCorrupt):
		return fmt.Errorf("%w: bbolt: writing %s: %w", ErrUnavailable, b.path, err)
	}
	return err
}

// applyAll runs in the transaction. Its last act is the journal: were it first, a change that is refused would be
// journaled; were it after the commit, a crash between the two would lose it.
func (b *boltDB) applyAll(tx *bbolt.Tx, queue []*write) error {
	buckets := openBuckets(tx)
	var finals []*Change
	for _, w := range queue {
		w.err = w.apply(buckets)
		if w.err != nil && !errors.Is(w.err, ErrConflict) && !errors.Is(w.err, ErrNotFound) {
			return w.err
		}
		if w.err == nil {
			finals = append(finals, w.finals...)
		}
	}
	if len(finals) == 0 {
		return nil
	}
	return b.journal.append(buckets.meta, finals)
}

// sync waits until everything written so far is on the disk.
func (b *boltDB) sync() error {
	if !b.dirty.Swap(false) {
		return nil
	}
	err := b.safely(b.db.Sync)
	if err != nil && !errors.Is(err, ErrClosed) {
		b.dirty.Store(true)
		log("bbolt").Error("what was written is perhaps not on the disk", zap.String("path", b.path), zap.Error(err))
	}
	return err
}

// syncLater is the goroutine that keeps the promise of "interval". What is left when it ends is Destruct's.
func (b *boltDB) syncLater() {
	for {
		var at time.Time
		select {
		case <-b.worker.ctx.Done():
			return
		case d := <-b.unsynced:
			at = time.Now().Add(d)
		}
		for wait := time.Until(at); wait > 0; wait = time.Until(at) {
			timer := time.NewTimer(wait)
			select {
			case <-b.worker.ctx.Done():
				timer.Stop()
				return
			case d := <-b.unsynced: // perhaps of a share that is in more of a hurry
				if sooner := time.Now().Add(d); sooner.Before(at) {
					at = sooner
				}
			case <-timer.C:
			}
			timer.Stop()
		}
		if b.sync() != nil { // an error that passes must not end the promise
			select {
			case b.unsynced <- time.Second:
			default:
			}
		}
	}
}
