package history_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/history"
	"github.com/labiium/chat2response/store"
)

// watched is a store that knows which spaces were written to, and calls before ahead of each write.
type watched struct {
	store.Store
	mu     sync.Mutex
	spaces map[string]bool
	before func(store.Change)
}

func watch(t testing.TB) *watched { return &watched{Store: newMemory(t), spaces: map[string]bool{}} }

func (w *watched) Swap(ctx ctxT, c store.Change) error {
	w.mu.Lock()
	w.spaces[c.Space] = true
	before := w.before
	w.mu.Unlock()
	if before != nil {
		before(c)
	}
	return w.Store.Swap(ctx, c)
}

func (w *watched) SwapMany(ctx ctxT, changes []store.Change) error {
	for _, c := range changes {
		w.mu.Lock()
		w.spaces[c.Space] = true
		before := w.before
		w.mu.Unlock()
		if before != nil {
			before(c)
		}
	}
	return w.Store.SwapMany(ctx, changes)
}

// left is what is still in the store.
func (w *watched) left(t testing.TB) (left []string) {
	for space := range w.spaces {
		page, err := w.List(ctx, space, store.Page{})
		want(t, err, nil)
		for _, e := range page {
			left = append(left, space+"/"+e.ID)
		}
	}
	return left
}

// Who deletes everything leaves nothing, in no space.
func TestNothingIsLeft(t *testing.T) {
	s := watch(t)
	a := newHistory(t, s, history.Config{}).Tenant("a")
	fill(t, a, "canary")
	c, err := a.CreateConversation(ctx, []responses.Item{user("", "x")}, nil)
	want(t, err, nil)
	page, err := s.List(ctx, a.Space(""), store.Page{})
	want(t, err, nil)
	for _, e := range page {
		want(t, a.DeleteResponse(ctx, e.ID), nil)
	}
	conversations, err := s.List(ctx, a.Space(":k"), store.Page{})
	want(t, err, nil)
	equal(t, len(conversations), 3)
	want(t, a.DeleteConversation(ctx, c.ID), nil)
	want(t, a.DeleteConversation(ctx, "canary"), nil)
	want(t, a.DeleteCompletion(ctx, "chatcmpl-1"), nil)
	for _, e := range conversations {
		_ = a.DeleteConversation(ctx, e.ID) // the one that fill has made
	}
	if left := s.left(t); len(left) > 0 {
		t.Fatalf("%d spaces were used, and this is left: %v", len(s.spaces), left)
	}
	if len(s.spaces) < 8 {
		t.Fatalf("only %d spaces were used", len(s.spaces))
	}
}

// An append that comes too late for the deletion takes itself back.
func TestLateAppend(t *testing.T) {
	s := watch(t)
	a := newHistory(t, s, history.Config{ConversationTTL: -1}).Tenant("a")
	c, err := a.CreateConversation(ctx, []responses.Item{user("", "x")}, nil)
	want(t, err, nil)
	thread, err := a.Thread(ctx, c.ID)
	want(t, err, nil)
	s.before = func(c2 store.Change) {
		if strings.Contains(c2.Space, ":c:") {
			s.before = nil
			want(t, a.DeleteConversation(ctx, c.ID), nil)
		}
	}
	id, err := said(a, thread, "late", "late")
	want(t, err, history.ErrNotFound)
	_, err = a.Response(ctx, id)
	want(t, err, history.ErrNotFound)
	for _, left := range s.left(t) {
		if !strings.Contains(left, ":i/") { // pointers, which lead nowhere and expire
			t.Errorf("%s is left", left)
		}
	}
	holds(t, a, 0)
}

// What is being written is not taken for something left by a crash, however small the cap.
func TestInFlight(t *testing.T) {
	s := watch(t)
	a := newHistory(t, s, history.Config{MaxRecords: 1}).Tenant("a")
	s.before = func(c store.Change) {
		if c.Space == a.Space("") {
			s.before = nil
			_, err := tryTurn(a, "", "second", "a")
			want(t, err, history.ErrUnavailable)
		}
	}
	id := turn(t, a, "", "first", "a")
	_, err := a.Response(ctx, id)
	want(t, err, nil)
	holds(t, a, 1)
	page, err := s.List(ctx, a.Space(""), store.Page{})
	want(t, err, nil)
	equal(t, len(page), 1)
}

// An item is found in each of its places, until the last is gone, however it went.
func TestPlaces(t *testing.T) {
	s := newMemory(t)
	a := newHistory(t, s, history.Config{}).Tenant("a")
	thread, err := a.NamedThread(ctx, "chat")
	want(t, err, nil)
	want(t, a.Save(ctx, history.Turn{Response: response("resp_1", responses.Completed), Input: []responses.Item{user("msg_1", "x")}, Thread: thread}), nil)
	c, err := a.CreateConversation(ctx, []responses.Item{ref("msg_1")}, nil)
	want(t, err, nil)
	gone := func(space, id string) { want(t, s.Delete(ctx, a.Space(space), id), nil) } // as an expiry does it
	found := func(sentinel error) {
		t.Helper()
		_, err := a.Items(ctx, "msg_1")
		want(t, err, sentinel)
	}
	found(nil)
	gone(":k", c.ID)
	found(nil)
	page, err := s.List(ctx, a.Space(":k"), store.Page{})
	want(t, err, nil)
	equal(t, len(page), 1)
	gone(":k", page[0].ID)
	found(nil)
	gone("", "resp_1")
	found(history.ErrNotFound)
}
