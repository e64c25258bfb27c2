package chat2response

import (
	"container/list"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/labiium/chat2response/convert/chat"
)

// A Chat answer has no room for calls that the gateway has run: when the model
// calls tools of the client in the same answer, the client sends only those back.
// The model would not know of its other calls, and make them again. So they are
// kept here, for the client's next request.

// hidden are the stashed messages of all handlers.
var hidden = &stash{byKey: map[stashKey]*list.Element{}}

const (
	stashFor   = 10 * time.Minute
	stashBytes = 32 << 20
)

// stashKey is a hash of who asked, what was asked, and which calls the client was
// given: servers use call ids again, so those alone are not enough.
type stashKey [sha256.Size]byte

type stash struct {
	mu    sync.Mutex
	byKey map[stashKey]*list.Element
	order list.List // of *stashed, oldest last
	bytes int
}

type stashed struct {
	key      stashKey
	until    time.Time
	messages []chat.Message
	bytes    int
}

// said is a hash of messages, made from that of all but the last.
func said(before []byte, m *chat.Message) []byte {
	b, err := json.Marshal(m, json.Deterministic(true))
	if err != nil {
		b = nil // not reached: it was read from JSON
	}
	sum := sha256.Sum256(append(slices.Clip(before), b...))
	return sum[:]
}

// keyOf is the key for the answer to messages, by their hash, that called the
// client's tools by ids. ids is sorted.
func keyOf(owner, model string, messages []byte, ids []string) stashKey {
	h := sha256.New()
	for _, part := range append([]string{owner, model, string(messages)}, ids...) {
		fmt.Fprintf(h, "%d %s\n", len(part), part)
	}
	return stashKey(h.Sum(nil))
}

// put keeps messages. It forgets the oldest where there are too many.
func (s *stash) put(key stashKey, messages []chat.Message, now time.Time) {
	size := 0
	if b, err := json.Marshal(messages); err == nil {
		size = len(b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(s.byKey[key])
	s.byKey[key] = s.order.PushFront(&stashed{key, now.Add(stashFor), messages, size})
	s.bytes += size
	for s.bytes > stashBytes || s.order.Back().Value.(*stashed).until.Before(now) {
		s.drop(s.order.Back())
		if s.order.Len() == 0 {
			return
		}
	}
}

func (s *stash) drop(e *list.Element) {
	if e == nil {
		return
	}
	old := s.order.Remove(e).(*stashed)
	s.bytes -= old.bytes
	delete(s.byKey, old.key)
}

func (s *stash) get(key stashKey, now time.Time) []chat.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byKey[key]
	if e == nil || e.Value.(*stashed).until.Before(now) {
		return nil
	}
	return e.Value.(*stashed).messages
}

func (s *stash) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order.Len() == 0
}

// unhide puts what was kept for the messages of a request back into them, before
// the client's own calls of the same answer.
func (s *stash) unhide(owner, model string, messages []chat.Message, now time.Time) []chat.Message {
	if s.empty() {
		return messages
	}
	var out []chat.Message
	var before []byte
	for i := range messages {
		if ids := callIDs(&messages[i]); len(ids) > 0 {
			out = append(out, s.get(keyOf(owner, model, before, ids), now)...)
		}
		out = append(out, messages[i])
		before = said(before, &messages[i])
	}
	return out
}

// callIDs are the ids of the calls in a message, sorted.
func callIDs(m *chat.Message) []string {
	ids := make([]string, len(m.ToolCalls))
	for i := range m.ToolCalls {
		ids[i] = m.ToolCalls[i].ID
	}
	slices.Sort(ids)
	return ids
}
