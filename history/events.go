package history

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/store"
)

// Event is one event of a background response, as it was sent.
type Event struct {
	// Sequence is its sequence_number.
	Sequence int64
	// Data is the event: its JSON, or however the caller keeps it. After the owner's death the last one is made here,
	// and is JSON.
	Data []byte
}

const (
	// flushSize is how much is collected before it is written at once.
	flushSize = 64 << 10
	// maxEvents bounds the events of one response, in bytes, and maxPending those that could not be written.
	maxEvents  = 32 << 20
	maxPending = 4 << 20
)

// eventLog is the events of a job: chunks in a space of the response's own. A chunk's id is the number after the last
// one before it, so that of two who would continue one log only one can, and its score is its last number, so that a
// reader finds the chunk behind the number he has.
type eventLog struct {
	j        *Job
	streamed bool

	mu       sync.Mutex
	pending  []Event
	waiting  int // bytes of pending
	size     int // bytes of everything
	last     int64
	newest   int64 // last, with what is pending
	timer    *time.Timer
	chunks   []string
	extended time.Time
	closed   bool
	changed  chan struct{} // closed at the next write
}

// add collects events.
func (l *eventLog) add(ctx context.Context, events []Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.streamed {
		return nil
	}
	if l.closed || l.j.ctx.Err() != nil {
		return fmt.Errorf("response '%s' %w", l.j.id, ErrLost)
	}
	if err := l.ascend(events); err != nil {
		return err
	}
	for _, e := range events {
		if l.size+len(e.Data) > maxEvents {
			return fmt.Errorf("%w: the events of response %s come to more than %d bytes", ErrTooLarge, l.j.id, maxEvents)
		}
		l.newest = e.Sequence
		l.size += len(e.Data)
		l.waiting += len(e.Data)
		l.pending = append(l.pending, Event{e.Sequence, bytes.Clone(e.Data)})
		if l.waiting >= flushSize {
			if err := l.flush(ctx, false); err != nil && l.waiting > maxPending || errors.Is(err, ErrLost) {
				return err
			}
		}
	}
	if len(l.pending) > 0 && l.timer == nil {
		l.arm(l.j.t.h.flush)
	}
	return nil
}

// ascend refuses events whose numbers do not rise.
func (l *eventLog) ascend(events []Event) error {
	newest := l.newest
	for _, e := range events {
		if e.Sequence <= newest {
			return fmt.Errorf("%w: event %d of response %s follows %d", ErrInvalid, e.Sequence, l.j.id, newest)
		}
		newest = e.Sequence
	}
	return nil
}

func (l *eventLog) arm(after time.Duration) {
	l.timer = time.AfterFunc(after, func() { _ = l.write(l.j.ctx) })
}

// write stores what is pending.
func (l *eventLog) write(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flush(ctx, false)
}

// ready is write, provided that last may follow.
func (l *eventLog) ready(ctx context.Context, last []Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.ascend(last); err != nil && l.streamed {
		return err
	}
	return l.flush(ctx, false)
}

// flush is write with the lock held. last ends the log.
func (l *eventLog) flush(ctx context.Context, end bool) error {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	if l.closed || len(l.pending) == 0 && !end {
		return nil
	}
	err := l.j.t.putEvents(ctx, l.j.id, l.last, l.pending, end)
	if errors.Is(err, ErrConflict) {
		l.j.cancel(ErrLost)
		return fmt.Errorf("response '%s' %w", l.j.id, ErrLost)
	}
	if err != nil {
		if l.j.ctx.Err() == nil {
			l.arm(time.Second)
		}
		return err
	}
	l.chunks = append(l.chunks, chunkID(l.last+1))
	if l.extended.IsZero() {
		l.extended = time.Now()
	}
	l.last = l.newest
	l.pending, l.waiting = nil, 0
	close(l.changed)
	l.changed = make(chan struct{})
	return nil
}

// end writes the last events, and that they are the last.
func (l *eventLog) end(ctx context.Context, last []Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.streamed {
		return nil
	}
	for _, e := range last {
		l.newest = e.Sequence
		l.pending = append(l.pending, e)
	}
	return l.flush(ctx, true)
}

// close lets go of the timer and wakes the readers, which find out for themselves.
func (l *eventLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	if !l.closed {
		l.closed = true
		close(l.changed)
	}
}

// wait returns what is closed at the next write.
func (l *eventLog) wait() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// prolong keeps the chunks as long as the job runs. They are written to live for twice keepEvents, so the log outlives
// the job by once that at least.
func (l *eventLog) prolong(ctx context.Context) {
	h := l.j.t.h
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); len(l.chunks) > 0 && now.Sub(l.extended) > h.keepEvents {
		if h.store.Extend(ctx, l.j.t.space(eventSpace+l.j.id), l.chunks, now.Add(2*h.keepEvents)) == nil {
			l.extended = now
		}
	}
}

// putEvents appends a chunk to a log whose last number is last. ErrConflict: it is longer by now.
func (t Tenant) putEvents(ctx context.Context, id string, last int64, events []Event, end bool) error {
	plain := []byte{0}
	if end {
		plain[0] = 1
	}
	score := last + 1
	for _, e := range events {
		plain = binary.AppendVarint(plain, e.Sequence)
		plain = appendPiece(plain, e.Data)
		score = e.Sequence
	}
	kind, chunk := eventSpace+id, chunkID(last+1)
	until := time.Now().Add(2 * t.h.keepEvents).UnixMilli()
	_, err := t.put(ctx, kind, chunk, nil, plain, score, until)
	if errors.Is(err, ErrConflict) {
		// Perhaps it is this very chunk, written by an attempt that was not answered.
		if there, _, err := t.get(ctx, kind, chunk); err == nil && bytes.Equal(there, plain) {
			return nil
		}
	}
	return err
}

// decodeEvents reads a chunk.
func decodeEvents(b []byte) (events []Event, end bool, err error) {
	if len(b) == 0 || b[0] > 1 {
		return nil, false, fmt.Errorf("%w: it is no part of an event log", ErrUnreadable)
	}
	end, b = b[0] == 1, b[1:]
	for len(b) > 0 {
		n, size := binary.Varint(b)
		if size <= 0 {
			return nil, false, fmt.Errorf("%w: a number of it is cut off", ErrUnreadable)
		}
		e := Event{Sequence: n}
		if e.Data, b, err = cutPiece(b[size:]); err != nil {
			return nil, false, err
		}
		events = append(events, e)
	}
	return events, end, nil
}

func (t Tenant) removeEvents(ctx context.Context, id string) error {
	kind := eventSpace + id
	for {
		page, err := t.h.store.List(ctx, t.space(kind), store.Page{Limit: 16})
		if err != nil {
			return t.h.failed(err)
		}
		for _, e := range page {
			if err := gone(t.delete(ctx, kind, e.ID)); err != nil {
				return err
			}
		}
		if len(page) < 16 {
			return nil
		}
	}
}

// closeLog writes the end of a log whose owner did not: the terminal event, but for a cancelled response, which has
// none (https://platform.openai.com/docs/api-reference/responses-streaming knows no response.cancelled).
func (t Tenant) closeLog(ctx context.Context, r *record) error {
	terminal := map[string]string{
		responses.Completed: responses.EventCompleted, responses.Incomplete: responses.EventIncomplete, responses.Failed: responses.EventFailed,
	}[r.Status]
	id := r.response.ID
	for r.Streamed {
		page, err := t.h.store.List(ctx, t.space(eventSpace+id), store.Page{Limit: 1, Reverse: true})
		if err != nil {
			return t.h.failed(err)
		}
		last := int64(-1)
		if len(page) > 0 {
			plain, err := t.open(eventSpace+id, page[0].ID, page[0].Value)
			if err != nil {
				return err
			}
			if _, end, err := decodeEvents(plain); end || err != nil {
				return err
			}
			last = page[0].Score
		}
		var events []Event
		if terminal != "" {
			response, err := t.object(ctx, r)
			if err != nil {
				return err
			}
			e := responses.Event{Type: terminal, SequenceNumber: last + 1, Response: response}
			data, err := e.Append(nil)
			if err != nil {
				return err
			}
			events = []Event{{last + 1, data}}
		}
		if err := t.putEvents(ctx, id, last, events, true); !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return nil
}

// Events reads the events of a background response. It is for one goroutine.
type Events struct {
	t     Tenant
	id    string
	after int64
	ended bool
	idle  time.Duration
}

// Events returns the events of a background response whose numbers are above after; -1: all. They are the same for
// every reader at any time, up to 10 minutes after the end. A response that was not started with events, or whose
// events are gone, is ErrNoEvents.
// https://platform.openai.com/docs/guides/background#streaming-a-background-response
func (t Tenant) Events(ctx context.Context, id string, after int64) (*Events, error) {
	r, err := t.find(ctx, id, false)
	if err != nil {
		return nil, err
	}
	if !r.Streamed || r.Ended != 0 && time.Since(time.UnixMilli(r.Ended)) > t.h.keepEvents {
		return nil, fmt.Errorf("Response with id '%s' %w.", id, ErrNoEvents)
	}
	return &Events{t: t, id: id, after: max(after, -1)}, nil
}

// Next returns the next events, at least one, waiting for them; io.EOF after the last. A job in this process wakes its
// readers; for others the store is asked at most ten times a second at first and once a second soon.
func (e *Events) Next(ctx context.Context) ([]Event, error) {
	for settled := false; ; {
		var wake <-chan struct{}
		job := e.t.localJob(e.id)
		if job != nil && job.ctx.Err() != nil {
			job = nil // its response is someone else's by now
		}
		if job != nil {
			wake = job.log.wait()
		}
		events, err := e.read(ctx)
		if err != nil || len(events) > 0 {
			e.idle = 0
			return events, err
		}
		if e.ended {
			return nil, io.EOF
		}
		if settled {
			return e.unlisted(ctx)
		}
		if job == nil {
			// The response may have ended without its log: its owner died, or could not write the end of it.
			if settled, err = e.settle(ctx); err != nil {
				return nil, err
			}
			if settled {
				continue
			}
		}
		e.idle = min(max(2*e.idle, e.t.h.poll/10), e.t.h.poll)
		timer := time.NewTimer(e.idle)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// read returns what is stored beyond after.
func (e *Events) read(ctx context.Context) ([]Event, error) {
	kind := eventSpace + e.id
	page, err := e.t.h.store.List(ctx, e.t.space(kind), store.Page{After: store.Position{Score: e.after, ID: "~"}, Limit: 4})
	if err != nil {
		return nil, e.t.h.failed(err)
	}
	var events []Event
	for _, entry := range page {
		if chunkNumber(entry.ID) > e.after+1 {
			return nil, fmt.Errorf("Response with id '%s' %w.", e.id, ErrNoEvents) // what came before is gone
		}
		plain, err := e.t.open(kind, entry.ID, entry.Value)
		if err != nil {
			return nil, err
		}
		chunk, end, err := decodeEvents(plain)
		if err != nil {
			return nil, err
		}
		events = append(events, e.beyond(chunk)...)
		e.after, e.ended = entry.Score, end
	}
	return events, nil
}

func (e *Events) beyond(chunk []Event) (events []Event) {
	for _, event := range chunk {
		if event.Sequence > e.after {
			events = append(events, event)
		}
	}
	return events
}

// unlisted returns the end of a log that is closed, or io.EOF: another reader may have
// written it just now, and a store lists a value only after it has it.
func (e *Events) unlisted(ctx context.Context) ([]Event, error) {
	plain, _, err := e.t.get(ctx, eventSpace+e.id, chunkID(e.after+1))
	if errors.Is(err, ErrNotFound) {
		return nil, io.EOF
	}
	if err != nil {
		return nil, err
	}
	chunk, end, err := decodeEvents(plain)
	if err != nil {
		return nil, err
	}
	events := e.beyond(chunk)
	if e.ended = end; len(events) == 0 {
		return nil, io.EOF
	}
	e.after = events[len(events)-1].Sequence
	return events, nil
}

// settle tells whether the response has ended, with its log.
func (e *Events) settle(ctx context.Context) (bool, error) {
	_, err := e.t.h.store.Get(ctx, e.t.space(leaseSpace), e.id)
	if err = e.t.h.failed(err); err == nil || !errors.Is(err, ErrNotFound) {
		return false, err
	}
	r, err := e.t.find(ctx, e.id, true)
	if err != nil {
		return false, err
	}
	if r, err = e.t.settle(ctx, r); err != nil || r.open() {
		return false, err
	}
	return true, e.t.closeLog(ctx, r)
}
