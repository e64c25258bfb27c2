package history_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/history"
	"github.com/labiium/chat2response/store"
	"github.com/labiium/chat2response/store/storetest"
)

const (
	poll  = 40 * time.Millisecond
	flush = 5 * time.Millisecond

	// No job loses its lease or its events because the machine is busy: a test that is about their end brings it about.
	lease   = 10 * time.Minute
	keepFor = 10 * time.Minute

	// patience is for what comes at once on a machine that has time.
	patience = 30 * time.Second
)

func quick(h *history.History) *history.History {
	h.Hasten(lease, poll, flush, keepFor)
	return h
}

func event(i int) history.Event {
	return history.Event{Sequence: int64(i), Data: fmt.Appendf(nil, `{"type":"x","sequence_number":%d}`, i)}
}

// read reads events to their end, or until f returns false.
func read(t testing.TB, of history.Tenant, id string, after int64, f func(history.Event) bool) []history.Event {
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	e, err := of.Events(limited, id, after)
	want(t, err, nil)
	var all []history.Event
	for {
		events, err := e.Next(limited)
		if errors.Is(err, io.EOF) {
			return all
		}
		want(t, err, nil)
		if len(events) == 0 {
			t.Fatal("Next returned nothing")
		}
		for _, event := range events {
			all = append(all, event)
			if f != nil && !f(event) {
				return all
			}
		}
	}
}

func start(t testing.TB, of history.Tenant, id, status string) *history.Job {
	t.Helper()
	r := response(id, status)
	r.CompletedAt = nil
	j, err := of.Start(ctx, history.Turn{Response: r, Input: []responses.Item{user("", "work")}}, true)
	want(t, err, nil)
	t.Cleanup(j.Close)
	return j
}

func status(t testing.TB, of history.Tenant, id string) string {
	t.Helper()
	r, err := of.Response(ctx, id)
	want(t, err, nil)
	return r.Status
}

// A background response from queued to completed, read at once, late, in part, and by two readers.
func TestJob(t *testing.T) {
	t.Parallel()
	onEach(t, history.Config{}, func(t *testing.T, h *history.History) {
		quick(h)
		a := h.Tenant("a")
		j := start(t, a, "resp_job", responses.Queued)
		equal(t, status(t, a, "resp_job"), responses.Queued)
		_, err := a.Chain(ctx, "resp_job")
		want(t, err, history.ErrUnfinished)
		want(t, j.InProgress(ctx), nil)
		equal(t, status(t, a, "resp_job"), responses.InProgress)

		const events = 300
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				got := read(t, a, "resp_job", -1, nil)
				if len(got) != events+1 {
					t.Errorf("%d events; want %d", len(got), events+1)
				}
			})
		}
		wg.Go(func() { // leaves in the middle and comes back
			first := read(t, a, "resp_job", -1, func(e history.Event) bool { return e.Sequence < 100 })
			rest := read(t, a, "resp_job", first[len(first)-1].Sequence, nil)
			for i, e := range append(first, rest...) {
				if w := event(i); i < events && string(e.Data) != string(w.Data) {
					t.Errorf("event %d is %s", i, e.Data)
				}
			}
		})
		for i := range events {
			want(t, j.Log(ctx, event(i)), nil)
			if i%50 == 0 {
				time.Sleep(3 * flush)
			}
		}
		want(t, j.Log(ctx, event(7)), history.ErrInvalid)
		want(t, j.Finish(ctx, response("resp_job", responses.InProgress)), history.ErrInvalid)
		want(t, j.Finish(ctx, response("resp_other", responses.Completed)), history.ErrInvalid)
		want(t, j.Finish(ctx, response("resp_job", responses.Completed, answer("msg_done", "done")), event(events)), nil)
		want(t, j.Finish(ctx, response("resp_job", responses.Completed)), history.ErrLost)
		want(t, j.Log(ctx, event(events+1)), history.ErrLost)
		wg.Wait()
		equal(t, status(t, a, "resp_job"), responses.Completed)
		chain, err := a.Chain(ctx, "resp_job")
		want(t, err, nil)
		equal(t, once(t, chain.Items), "work done")
		found, err := a.Items(ctx, "msg_done")
		want(t, err, nil)
		equal(t, text(found[0]), "done")

		again := read(t, a, "resp_job", 250, nil)
		equal(t, len(again), 50)
		equal(t, len(read(t, a, "resp_job", 1000, nil)), 0)
		r, err := a.CancelResponse(ctx, "resp_job") // too late
		want(t, err, nil)
		equal(t, r.Status, responses.Completed)

		h.Hasten(lease, poll, flush, time.Millisecond)
		time.Sleep(2 * time.Millisecond)
		_, err = a.Events(ctx, "resp_job", -1)
		want(t, err, history.ErrNoEvents)
		j.Close()
		j.Close()
		equal(t, status(t, a, "resp_job"), responses.Completed)
		turn(t, a, "resp_job", "next", "yes")
		records, _, orphans, err := a.Audit(ctx)
		want(t, err, nil)
		equal(t, [2]int64{records, orphans}, [2]int64{2, 0})
	})
}

func TestJobRefusals(t *testing.T) {
	a := quick(newHistory(t, newMemory(t), history.Config{MaxResponse: 5000})).Tenant("a")
	plain := turn(t, a, "", "q", "a")
	_, err := a.CancelResponse(ctx, plain)
	want(t, err, history.ErrSynchronous)
	_, err = a.Events(ctx, plain, -1)
	want(t, err, history.ErrNoEvents)
	for _, id := range []string{"resp_never", "a:b"} {
		_, err = a.CancelResponse(ctx, id)
		want(t, err, history.ErrNotFound)
		_, err = a.Events(ctx, id, -1)
		want(t, err, history.ErrNotFound)
	}
	_, err = a.Start(ctx, history.Turn{Response: response("resp_1", responses.Completed)}, true)
	want(t, err, history.ErrInvalid)
	_, err = history.Tenant{}.Start(ctx, history.Turn{Response: response("resp_1", responses.Queued)}, true)
	want(t, err, history.ErrInvalid)
	_, err = a.Start(ctx, history.Turn{Response: response(plain, responses.Queued)}, true)
	want(t, err, history.ErrConflict)
	j := start(t, a, "resp_big", responses.InProgress)
	_, err = a.Start(ctx, history.Turn{Response: response("resp_big", responses.Queued)}, true)
	want(t, err, history.ErrConflict)
	want(t, j.Finish(ctx, response("resp_big", responses.Completed, answer("", strings.Repeat("x", 5000)))), history.ErrTooLarge)
	equal(t, status(t, a, "resp_big"), responses.InProgress)
	want(t, j.Finish(ctx, response("resp_big", responses.Failed)), nil)
	equal(t, status(t, a, "resp_big"), responses.Failed)

	// Without events nothing is kept of them.
	j, err = a.Start(ctx, history.Turn{Response: response("resp_silent", responses.Queued)}, false)
	want(t, err, nil)
	want(t, j.Log(ctx, event(0)), nil)
	_, err = a.Events(ctx, "resp_silent", -1)
	want(t, err, history.ErrNoEvents)
	want(t, j.Finish(ctx, response("resp_silent", responses.Completed), event(1)), nil)
}

// A background turn of a conversation: it is appended at the end, or the loser is told and may fail.
func TestJobInConversation(t *testing.T) {
	onEach(t, history.Config{}, func(t *testing.T, h *history.History) {
		a := quick(h).Tenant("a")
		for _, id := range []string{"chat-1", "chat-2"} {
			thread, err := a.NamedThread(ctx, id)
			want(t, err, nil)
			j, err := a.Start(ctx, history.Turn{Response: response("resp_"+id, responses.InProgress), Input: []responses.Item{user("", "slow")}, Thread: thread}, true)
			want(t, err, nil)
			wanted := "slow done"
			if id == "chat-2" {
				thread, err = a.NamedThread(ctx, id)
				want(t, err, nil)
				_, err = said(a, thread, "fast", "done")
				want(t, err, nil)
				wanted = "fast done"
				want(t, j.Finish(ctx, response("resp_"+id, responses.Completed, answer("", "done"))), history.ErrConflict)
				equal(t, status(t, a, "resp_"+id), responses.InProgress)
				want(t, j.Finish(ctx, response("resp_"+id, responses.Failed)), nil)
			} else {
				want(t, j.Finish(ctx, response("resp_"+id, responses.Completed, answer("", "done"))), nil)
			}
			thread, err = a.Thread(ctx, id)
			want(t, err, nil)
			equal(t, once(t, thread.Items), wanted)
		}
	})
}

func TestCancel(t *testing.T) {
	onEach(t, history.Config{}, func(t *testing.T, h *history.History) {
		a := quick(h).Tenant("a")
		for id, act := range map[string]func(id string) error{
			"resp_cancelled": func(id string) error { _, err := a.CancelResponse(ctx, id); return err },
			"resp_deleted":   func(id string) error { return a.DeleteResponse(ctx, id) },
		} {
			thread, err := a.NamedThread(ctx, "chat-"+id)
			want(t, err, nil)
			j, err := a.Start(ctx, history.Turn{Response: response(id, responses.InProgress), Input: []responses.Item{user("", "q")}, Thread: thread}, true)
			want(t, err, nil)
			want(t, j.Log(ctx, event(0), event(1)), nil)
			read(t, a, id, -1, func(e history.Event) bool { return e.Sequence < 1 })
			want(t, act(id), nil)
			select {
			case <-j.Context().Done():
				want(t, context.Cause(j.Context()), history.ErrLost)
			case <-time.After(patience):
				t.Fatal("the job was not told")
			}
			want(t, j.Log(ctx, event(2)), history.ErrLost)
			want(t, j.Finish(ctx, response(id, responses.Completed, answer("", "late"))), history.ErrLost)
			j.Close()
			thread, err = a.NamedThread(ctx, "chat-"+id)
			want(t, err, nil)
			equal(t, len(thread.Items), 0)
			if id == "resp_deleted" {
				_, err = a.Events(ctx, id, -1)
				want(t, err, history.ErrNotFound)
				continue
			}
			equal(t, status(t, a, id), responses.Cancelled)
			equal(t, len(read(t, a, id, -1, nil)), 2) // no event tells of it
			again, err := a.CancelResponse(ctx, id)
			want(t, err, nil)
			equal(t, again.Status, responses.Cancelled)
			_, err = a.Chain(ctx, id)
			want(t, err, history.ErrUnfinished)
		}
	})
}

// The owner dies: the response becomes failed when its lease is over, whoever looks first, and its events end with one
// that says so, the same for all. The owner that was only paused is told.
func TestOwnerDies(t *testing.T) {
	t.Parallel()
	onEach(t, history.Config{}, func(t *testing.T, h *history.History) {
		a := quick(h).Tenant("a")
		j := start(t, a, "resp_orphan", responses.InProgress)
		want(t, j.Log(ctx, event(0), event(1), event(2)), nil)
		read(t, a, "resp_orphan", -1, func(e history.Event) bool { return e.Sequence < 2 })
		j.Die()
		equal(t, status(t, a, "resp_orphan"), responses.InProgress)
		want(t, a.ExpireLease(ctx, "resp_orphan"), nil)
		var wg sync.WaitGroup
		var logs [4]string
		for i := range logs {
			wg.Go(func() {
				for _, e := range read(t, a, "resp_orphan", 1, nil) {
					logs[i] += fmt.Sprintf("%d:%s\n", e.Sequence, e.Data)
				}
			})
		}
		wg.Wait()
		for _, log := range logs {
			equal(t, log, logs[0])
		}
		lines := strings.Split(strings.TrimSpace(logs[0]), "\n")
		equal(t, len(lines), 2)
		var last responses.Event
		want(t, json.Unmarshal([]byte(strings.TrimPrefix(lines[1], "3:")), &last), nil)
		equal(t, last.Type, responses.EventFailed)
		equal(t, last.SequenceNumber, 3)
		equal(t, last.Response.ID, "resp_orphan")
		equal(t, status(t, a, "resp_orphan"), responses.Failed)
		want(t, j.Log(ctx, event(3)), history.ErrLost)
		want(t, j.Finish(ctx, response("resp_orphan", responses.Completed)), history.ErrLost)
		_, err := a.Chain(ctx, "resp_orphan")
		want(t, err, history.ErrUnfinished)
		equal(t, h.Stats().Orphaned, 1)

		// One that ends without finishing is failed at once.
		j = start(t, a, "resp_closed", responses.Queued)
		want(t, j.Log(ctx, event(0)), nil)
		j.Close()
		equal(t, status(t, a, "resp_closed"), responses.Failed)
		equal(t, len(read(t, a, "resp_closed", -1, nil)), 2)
	})
}

// paused is a store whose answers about leases can be held back, as for a process that is stopped for a while.
type paused struct {
	store.Store
	mu sync.RWMutex
}

func (p *paused) Extend(ctx ctxT, space string, ids []string, until time.Time) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.Store.Extend(ctx, space, ids, until)
}

// The job lives on one gateway and is read, cancelled and taken for dead on another.
func TestTwoGateways(t *testing.T) {
	t.Parallel()
	const lease = 4 * time.Second // renewed a second and a half after it was taken
	server := storetest.StartRedis(t)
	here := quick(newHistory(t, onRedis(t, server, 16), history.Config{})).Tenant("a")
	slow := &paused{Store: onRedis(t, server, 5)}
	gateway := newHistory(t, slow, history.Config{})
	gateway.Hasten(lease, poll, flush, keepFor)
	there := gateway.Tenant("a")

	j := start(t, there, "resp_1", responses.InProgress)
	var wg sync.WaitGroup
	wg.Go(func() {
		if got := read(t, here, "resp_1", -1, nil); len(got) != 101 {
			t.Errorf("%d events; want 101", len(got))
		}
	})
	for i := range 100 {
		want(t, j.Log(ctx, event(i)), nil)
		time.Sleep(time.Millisecond)
	}
	time.Sleep(3 * lease / 2) // renewed all the while
	equal(t, status(t, here, "resp_1"), responses.InProgress)
	want(t, j.Finish(ctx, response("resp_1", responses.Completed), event(100)), nil)
	wg.Wait()

	j = start(t, there, "resp_2", responses.InProgress)
	_, err := here.CancelResponse(ctx, "resp_2")
	want(t, err, nil)
	select {
	case <-j.Context().Done():
	case <-time.After(patience):
		t.Fatal("the job was not told")
	}
	want(t, j.Finish(ctx, response("resp_2", responses.Completed)), history.ErrLost)

	j = start(t, there, "resp_3", responses.InProgress)
	want(t, j.Log(ctx, event(0)), nil)
	slow.mu.Lock()
	for begun := time.Now(); status(t, here, "resp_3") == responses.InProgress; time.Sleep(lease / 10) {
		if time.Since(begun) > patience {
			t.Fatal("nobody noticed")
		}
	}
	slow.mu.Unlock()
	want(t, j.Finish(ctx, response("resp_3", responses.Completed), event(2)), history.ErrLost)
	equal(t, status(t, here, "resp_3"), responses.Failed)
	got := read(t, here, "resp_3", -1, nil)
	if last := got[len(got)-1]; !strings.Contains(string(last.Data), "response.failed") {
		t.Fatalf("the last event is %s", last.Data)
	}
}

// The log's end was not written, because the owner died between the two: a reader writes it.
func TestEndWithoutLog(t *testing.T) {
	t.Parallel()
	s := &failing{Store: newMemory(t)}
	a := quick(newHistory(t, s, history.Config{})).Tenant("a")
	j := start(t, a, "resp_1", responses.InProgress)
	want(t, j.Log(ctx, event(0)), nil)
	read(t, a, "resp_1", -1, func(history.Event) bool { return false })
	s.refuse(func(c store.Change) bool { return strings.Contains(c.Space, ":v:") })
	want(t, j.Finish(ctx, response("resp_1", responses.Completed, answer("msg_1", "done")), event(1)), nil)
	s.refuse(nil)
	want(t, a.ExpireLease(ctx, "resp_1"), nil)
	got := read(t, a, "resp_1", 0, nil)
	equal(t, len(got), 1)
	var last responses.Event
	want(t, json.Unmarshal(got[0].Data, &last), nil)
	equal(t, last.Type, responses.EventCompleted)
	equal(t, texts(last.Response.Output), "done")
	equal(t, string(read(t, a, "resp_1", 0, nil)[0].Data), string(got[0].Data))
}

// A log of many megabytes is written in parts, read in parts, and bounded.
func TestLongLog(t *testing.T) {
	a := quick(newHistory(t, newMemory(t), history.Config{})).Tenant("a")
	j := start(t, a, "resp_1", responses.InProgress)
	data := []byte(strings.Repeat("x", 100_000))
	var err error
	i := 0
	for ; err == nil; i++ {
		err = j.Log(ctx, history.Event{Sequence: int64(i), Data: data})
	}
	want(t, err, history.ErrTooLarge)
	equal(t, i-1, 32<<20/len(data))
	want(t, j.Finish(ctx, response("resp_1", responses.Failed)), nil)
	equal(t, len(read(t, a, "resp_1", -1, nil)), i-1)
}
