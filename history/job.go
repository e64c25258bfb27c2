package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/labiium/chat2response/convert/responses"
)

// Job is a background response while it runs. Its owner keeps a lease in the store, which expires by itself: a response
// that is queued or in progress and has no lease is one whose owner has died, and whoever reads it declares it failed.
//
// A Job has a goroutine, which ends with it. Its methods may be called from many goroutines.
// https://platform.openai.com/docs/guides/background
type Job struct {
	t      Tenant
	id     string
	token  []byte
	saving *saving
	thread *Thread
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	state sync.Mutex // of saving.record and ended
	ended bool
	log   eventLog
}

// Start stores a background response that is queued or in progress, and takes its lease. streamed says that its events
// are kept too. The job is the caller's to end, by Finish or Close; its Thread and Chain are read before and used at
// the end.
func (t Tenant) Start(ctx context.Context, turn Turn, streamed bool) (*Job, error) {
	if err := t.ready(); err != nil {
		return nil, err
	}
	if s := turn.Response.Status; s != responses.Queued && s != responses.InProgress {
		return nil, fmt.Errorf("%w: status %.20q of a response that is to run; it is queued or in_progress", ErrInvalid, s)
	}
	t = t.Within(nil) // the job outlives the request
	s, err := t.prepare(ctx, turn)
	if err != nil {
		return nil, err
	}
	s.record.Background, s.record.Streamed = true, streamed
	j := &Job{t: t, id: s.record.response.ID, token: []byte(randomHex(12)), saving: s, thread: turn.Thread}
	// The lease is first: without it the record would be taken for an orphan.
	err = t.swap(ctx, leaseSpace, j.id, nil, j.token, 0, time.Now().Add(t.h.lease).UnixMilli())
	if errors.Is(err, ErrConflict) {
		return nil, fmt.Errorf("%w: the id %s is in use", ErrConflict, j.id)
	}
	if err == nil {
		err = s.create(ctx)
	}
	if err != nil {
		_ = t.endLease(context.WithoutCancel(ctx), j.id)
		return nil, err
	}
	j.ctx, j.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	j.log = eventLog{j: j, streamed: streamed, last: -1, newest: -1, changed: make(chan struct{})}
	h := t.h
	h.mu.Lock()
	h.jobs[t.space(responseSpace)+j.id] = j
	h.mu.Unlock()
	j.wg.Go(j.renew)
	return j, nil
}

// Context ends when the job does, and when the response was cancelled or deleted, or declared failed because its lease
// ran out; [context.Cause] is then ErrLost.
func (j *Job) Context() context.Context { return j.ctx }

// localJob is the job of a response if it runs in this process.
func (t Tenant) localJob(id string) *Job {
	t.h.mu.Lock()
	defer t.h.mu.Unlock()
	return t.h.jobs[t.space(responseSpace)+id]
}

// renew keeps the lease, and sees when somebody has taken it away.
func (j *Job) renew() {
	h := j.t.h
	tick := time.NewTicker(h.lease / 15)
	defer tick.Stop()
	extended := time.Now()
	for {
		select {
		case <-j.ctx.Done():
			return
		case <-tick.C:
		}
		held, err := h.store.Get(j.ctx, j.t.space(leaseSpace), j.id)
		err = h.failed(err)
		switch {
		case errors.Is(err, ErrNotFound), err == nil && !bytes.Equal(held, j.token):
			j.cancel(ErrLost)
			return
		case err != nil:
			continue
		}
		if now := time.Now(); now.Sub(extended) > h.lease/3 {
			if h.store.Extend(j.ctx, j.t.space(leaseSpace), []string{j.id}, now.Add(h.lease)) == nil {
				extended = now
			}
			j.log.prolong(j.ctx)
		}
	}
}

// endLease gives a lease back, or takes it away.
func (t Tenant) endLease(ctx context.Context, id string) error {
	if j := t.localJob(id); j != nil {
		j.cancel(ErrLost)
	}
	return gone(t.delete(ctx, leaseSpace, id))
}

// InProgress says that a queued response has begun.
func (j *Job) InProgress(ctx context.Context) error {
	j.state.Lock()
	defer j.state.Unlock()
	r := j.saving.record
	if j.ended || r.Status != responses.Queued {
		return nil
	}
	next := *r
	next.Status, next.response.Status = responses.InProgress, responses.InProgress
	if err := j.t.rewrite(ctx, &next, r.raw, untilFrom(time.Now(), j.t.h.c.TTL)); err != nil {
		return j.lost(err)
	}
	*r = next
	return nil
}

// lost says what a conflict over the record means.
func (j *Job) lost(err error) error {
	if !errors.Is(err, ErrConflict) {
		return err
	}
	j.cancel(ErrLost)
	return fmt.Errorf("response '%s' %w", j.id, ErrLost)
}

// Log keeps events for those who read them by [Tenant.Events]; nothing, if the job was started without. Readers see
// them once they are stored, which is at most 50 ms and a write later: so what they have seen is there to be replayed,
// whatever becomes of this process. Numbers must rise. An error other than ErrLost and ErrTooLarge (32 MiB in all)
// means that they are kept and tried again with the next.
func (j *Job) Log(ctx context.Context, events ...Event) error { return j.log.add(ctx, events) }

// Finish stores how the response has ended: completed, incomplete, failed or cancelled. Then it keeps the last events,
// which tell of it, gives back the lease and ends the job. If the response was cancelled or deleted meanwhile it is
// ErrLost and nothing is changed. After any other error the job goes on, and Finish may be called again, for instance
// with a failed response: ErrConflict means that another was appended to the conversation.
func (j *Job) Finish(ctx context.Context, response *responses.Response, last ...Event) error {
	t := j.t
	if response.ID != j.id || response.Status == responses.Queued || response.Status == responses.InProgress {
		return fmt.Errorf("%w: response %.80q with status %.20q ends job %s", ErrInvalid, response.ID, response.Status, j.id)
	}
	if err := whole(response); err != nil {
		return err
	}
	if err := j.log.ready(ctx, last); err != nil {
		return err
	}
	j.state.Lock()
	defer j.state.Unlock()
	if j.ended {
		return fmt.Errorf("response '%s' %w", j.id, ErrLost)
	}
	record := *j.saving.record
	s := &saving{t: t, record: &record, spare: j.saving.spare, ids: j.saving.ids}
	if err := s.finish(ctx, response, j.thread); err != nil {
		return err
	}
	record.Ended = time.Now().UnixMilli()
	if err := s.replace(ctx, j.saving.size); err != nil {
		return j.lostOr(err, s.chunk)
	}
	t.h.count.wrote(s.size)
	j.ended = true
	// The response is stored, so the job has succeeded. If the end of its log is not, a reader will write it.
	err := j.log.end(ctx, last)
	j.cancel(context.Canceled) // it was not lost
	if err == nil {
		_ = t.endLease(ctx, j.id)
	}
	j.leave()
	return nil
}

// lostOr tells a conflict over the conversation from one over the response.
func (j *Job) lostOr(err error, chunk *newChunk) error {
	var over *conversationConflict
	if chunk != nil && errors.As(err, &over) {
		return err
	}
	return j.lost(err)
}

// replace writes a record that ends what its raw has begun; was is its size until now.
func (s *saving) replace(ctx context.Context, was int64) error {
	t, r := s.t, s.record
	id, until := r.response.ID, untilFrom(time.Now(), t.h.c.TTL)
	r.Until = min(r.Until, until)
	pointers, charged := s.places(until)
	room, err := t.reserve(ctx, s.chunk.records(), max(0, charged-was)+s.chunk.charge(), s.chunk.until(until), s.spare...)
	if err != nil {
		return err
	}
	defer room.free()
	plain, err := encodeRecord(r, s.items)
	if err != nil {
		return err
	}
	b := t.batch()
	raw := b.put(responseSpace, id, r.raw, plain, r.Created, until, nil)
	if err := s.joinEcho(ctx, b, until); err != nil {
		return err
	}
	if err := s.chunk.join(ctx, b); err != nil {
		return err
	}
	entry := ledgerID(isResponse, id)
	old, err := t.raw(ctx, ledgerSpace, entry)
	if err = gone(err); err != nil {
		return err
	}
	if old != nil { // else it was evicted, and so the record is gone too
		b.swap(ledgerSpace, entry, old, ledgerValue(charged, 1, ""), r.Created, until, nil)
	}
	if err := b.point(pointers); err != nil {
		return err
	}
	if err := b.commit(ctx, room); err != nil {
		return err
	}
	r.raw = raw
	return nil
}

// joinEcho writes what repeats the request, unless it is there already.
func (s *saving) joinEcho(ctx context.Context, b *batch, until int64) error {
	id := s.record.response.ID
	plain, raw, err := s.t.get(ctx, echoSpace, id)
	if err = gone(err); err != nil {
		return err
	}
	switch {
	case s.echo == nil && raw != nil:
		b.drop(echoSpace, id)
	case s.echo != nil && !bytes.Equal(plain, s.echo):
		b.put(echoSpace, id, raw, s.echo, s.record.Created, until, nil)
	}
	return nil
}

// Close ends the job. A response that was not finished is failed from now on. It may be called more than once, and
// after Finish it does nothing.
func (j *Job) Close() {
	j.state.Lock()
	ended := j.ended
	j.ended = true
	j.state.Unlock()
	if ended {
		j.wg.Wait()
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(j.ctx), 2*time.Second)
	defer cancel()
	_ = j.log.write(ctx)
	if context.Cause(j.ctx) == nil {
		j.cancel(context.Canceled)
		_ = j.t.endLease(ctx, j.id)
		_, _ = j.t.Response(ctx, j.id)
	}
	j.leave()
}

// leave ends the goroutine and tells the readers.
func (j *Job) leave() {
	h := j.t.h
	h.mu.Lock()
	if key := j.t.space(responseSpace) + j.id; h.jobs[key] == j {
		delete(h.jobs, key)
	}
	h.mu.Unlock()
	j.cancel(context.Canceled)
	j.log.close()
	j.wg.Wait()
}

// settle returns a response that was read as unfinished, as it is: still unfinished if its owner has the lease, else
// failed from now on.
func (t Tenant) settle(ctx context.Context, r *record) (*record, error) {
	for r.open() {
		_, err := t.h.store.Get(ctx, t.space(leaseSpace), r.response.ID)
		if err = t.h.failed(err); err == nil || !errors.Is(err, ErrNotFound) {
			return r, err
		}
		next := *r
		next.response.Error = &responses.ResponseError{Code: "server_error", Message: "The gateway that ran this response went away before it ended."}
		next.Status = responses.Failed
		r, err = t.conclude(ctx, r, &next)
		if err != nil {
			return nil, err
		}
		if r == &next {
			t.h.count.orphaned.Add(1)
		}
	}
	return r, nil
}

// conclude ends a response in its owner's stead: was becomes next, unless somebody was faster. It returns what the
// response is now.
func (t Tenant) conclude(ctx context.Context, was, next *record) (*record, error) {
	id := was.response.ID
	next.Ended, next.response.Status = time.Now().UnixMilli(), next.Status
	next.items = slices.Clone(next.items)
	err := t.rewrite(ctx, next, was.raw, untilFrom(time.Now(), t.h.c.TTL))
	if errors.Is(err, ErrConflict) {
		return t.find(ctx, id, true)
	}
	if err != nil {
		return nil, err
	}
	// Whatever of this does not succeed is done by those who read the events.
	_ = t.endLease(ctx, id)
	_ = t.closeLog(ctx, next)
	return next, nil
}

// CancelResponse cancels a background response that runs, wherever that is, and returns it. One that has ended is
// returned as it is. Others are ErrSynchronous.
// https://platform.openai.com/docs/api-reference/responses/cancel
func (t Tenant) CancelResponse(ctx context.Context, id string) (*responses.Response, error) {
	r, err := t.find(ctx, id, true)
	if err != nil {
		return nil, err
	}
	if !r.Background {
		return nil, ErrSynchronous
	}
	for {
		if r, err = t.settle(ctx, r); err != nil {
			return nil, err
		}
		if !r.open() {
			return t.object(ctx, r)
		}
		next := *r
		next.Status = responses.Cancelled
		if r, err = t.conclude(ctx, r, &next); err != nil {
			return nil, err
		}
	}
}
