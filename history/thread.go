package history

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/store"
)

// chunk is what one append has added to a conversation.
type chunk struct {
	chunkMeta
	items       []responses.Item
	incarnation string
	raw         []byte
}

type chunkMeta struct {
	// Items is how many items there are, and Tag what the ids have in common that were given here.
	Items int    `json:"l,omitzero"`
	Tag   string `json:"h,omitzero"`
	// Own is the size of the items, Total that of the conversation up to here.
	Own   int64 `json:"o"`
	Total int64 `json:"a"`
}

// chunkID is the id of a chunk: its number, so written that text sorts as numbers do.
func chunkID(number int64) string { return fmt.Sprintf("%012d", number) }

func chunkNumber(id string) int64 {
	n, _ := strconv.ParseInt(id, 10, 64)
	return n
}

func decodeChunk(b []byte) (*chunk, error) {
	m, items, err := cutPiece(b)
	if err != nil {
		return nil, err
	}
	c := &chunk{}
	if err := decode(m, &c.chunkMeta); err != nil {
		return nil, err
	}
	if c.Items < 0 || c.Items > len(items)/2 { // an item is two bytes at least
		return nil, fmt.Errorf("%w: %d items in %d bytes", ErrUnreadable, c.Items, len(items))
	}
	c.items = make([]responses.Item, 0, c.Items)
	return c, decode(items, &c.items)
}

func (c *chunk) encode() ([]byte, error) {
	if c.items == nil {
		c.items = []responses.Item{}
	}
	items, err := encode(c.items)
	if err != nil {
		return nil, err
	}
	c.Total += int64(len(items)) - c.Own
	c.Own = int64(len(items))
	c.Items = len(c.items)
	m, err := encode(&c.chunkMeta)
	if err != nil {
		return nil, err
	}
	return append(appendPiece(nil, m), items...), nil
}

func (c *chunk) index(item string) int {
	return slices.IndexFunc(c.items, func(i responses.Item) bool { return i.ID == item })
}

// without removes an item, or all of that id, and returns what it has removed.
func (c *chunk) without(item string) (removed []responses.Item) {
	keep := []responses.Item{}
	for _, i := range c.items {
		if i.ID == item {
			removed = append(removed, i)
			continue
		}
		keep = append(keep, i)
	}
	c.items = keep
	return removed
}

// chunk reads one chunk.
func (t Tenant) chunk(ctx context.Context, incarnation string, number int64) (*chunk, error) {
	plain, raw, err := t.get(ctx, chunkSpace+incarnation, chunkID(number))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(t.hold(int64(len(plain))), t.weighChunk(plain)); err != nil {
		return nil, err
	}
	c, err := decodeChunk(plain)
	if err != nil {
		return nil, err
	}
	c.incarnation, c.raw = incarnation, raw
	return c, nil
}

// weighChunk is weigh of a chunk's items.
func (t Tenant) weighChunk(plain []byte) error {
	if t.reader == nil {
		return nil
	}
	_, items, err := cutPiece(plain)
	if err != nil {
		return err
	}
	return t.weigh(items)
}

// eachChunk calls f with the chunks beyond number from, so many to a read, until f returns false. What they hold is on
// the account if the caller has not put it there before (held).
func (t Tenant) eachChunk(ctx context.Context, incarnation string, from int64, limit int, reverse, held bool, f func(int64, *chunk) (bool, error)) error {
	p := store.Page{Limit: limit, Reverse: reverse}
	if from > 0 {
		p.After = store.Position{Score: from, ID: chunkID(from)}
	}
	for {
		page, err := t.h.store.List(ctx, t.space(chunkSpace+incarnation), p)
		if err != nil {
			return t.h.failed(err)
		}
		for _, e := range page {
			plain, err := t.open(chunkSpace+incarnation, e.ID, e.Value)
			if err != nil {
				return err
			}
			if !held {
				err = t.hold(int64(len(plain)))
			}
			if err := errors.Join(err, t.weighChunk(plain)); err != nil {
				return err
			}
			c, err := decodeChunk(plain)
			if err != nil {
				return err
			}
			c.incarnation, c.raw = incarnation, e.Value
			if more, err := f(e.Score, c); err != nil || !more {
				return err
			}
			p.After = e.Position
		}
		if len(page) < limit {
			return nil
		}
	}
}

// locate finds the chunk an item is in: where its pointer says, else by looking through all.
func (t Tenant) locate(ctx context.Context, key string, c *conversation, item string) (int64, *chunk, error) {
	places, err := t.placesOf(ctx, []string{item})
	if err != nil {
		return 0, nil, err
	}
	for _, p := range slices.Backward(places[item]) {
		if p.Conversation != key || p.Incarnation != c.Incarnation {
			continue
		}
		found, err := t.chunk(ctx, c.Incarnation, p.Chunk)
		if err == nil && found.index(item) >= 0 {
			return p.Chunk, found, nil
		}
		if gone(err) != nil {
			return 0, nil, err
		}
	}
	var number int64
	var found *chunk
	err = t.eachChunk(ctx, c.Incarnation, 0, 64, false, false, func(n int64, c *chunk) (bool, error) {
		if c.index(item) < 0 {
			return true, nil
		}
		number, found = n, c
		return false, nil
	})
	if err == nil && found == nil {
		err = missing("Item", item)
	}
	return number, found, err
}

// Thread is a conversation as it was when it was read. It is given to one [Turn] and then used up.
type Thread struct {
	// ID is the conversation's, as the client knows it.
	ID string
	// Items are all its items, oldest first, each once.
	Items []responses.Item

	t     Tenant
	key   string
	conv  conversation
	fresh bool  // it does not exist yet
	last  int64 // number of its last chunk
	total int64
	keys  map[string]bool // of the pointers to its items
}

// Thread returns a conversation to be continued, or ErrNotFound. Reading it keeps it for another ConversationTTL. One
// that is beyond MaxChain is ErrTooLarge.
func (t Tenant) Thread(ctx context.Context, id string) (*Thread, error) {
	thread, err := t.thread(ctx, conversationKey(id), -1)
	if err != nil {
		if errors.Is(err, ErrNotFound) {
			t.h.miss()
		}
		return nil, orMissing(err, "Conversation", id)
	}
	return thread, nil
}

// NamedThread is [Tenant.Thread] for an id that the client has chosen, 1 to 512 bytes, which need not exist: it does
// from the first turn that is saved on. An id that begins with conv_ is not for clients to choose.
func (t Tenant) NamedThread(ctx context.Context, id string) (*Thread, error) {
	if err := t.ready(); err != nil {
		return nil, err
	}
	if id == "" || len(id) > 512 {
		return nil, fmt.Errorf("%w: conversation id of %d bytes; 1 to 512 are possible", ErrInvalid, len(id))
	}
	thread, err := t.Thread(ctx, id)
	if !errors.Is(err, ErrNotFound) || strings.HasPrefix(id, conversationPrefix) {
		return thread, err
	}
	return &Thread{ID: id, t: t, key: conversationKey(id), conv: t.newConversation(id, nil), fresh: true}, nil
}

// thread reads a conversation, or its first chunks if most is not negative.
func (t Tenant) thread(ctx context.Context, key string, most int64) (*Thread, error) {
	c, err := t.conversation(ctx, key)
	if err != nil {
		return nil, err
	}
	thread := &Thread{ID: c.ID, t: t, key: key, conv: c, keys: map[string]bool{}}
	limit := store.MaxPage
	if most >= 0 {
		limit = int(min(most, store.MaxPage))
	}
	if most < 0 { // else what is read of it is part of a chain
		if err := t.holdEntry(ctx, isConversation, key); err != nil {
			return nil, err
		}
	}
	err = t.eachChunk(ctx, c.Incarnation, 0, limit, false, true, func(number int64, chunk *chunk) (bool, error) {
		if most >= 0 && number > most {
			return false, nil
		}
		thread.last = number
		thread.Items = append(thread.Items, chunk.items...)
		for _, key := range pointerKeys(chunk.items, chunk.Tag) {
			thread.keys[key] = true
		}
		if thread.total += chunk.Own; thread.total > t.h.c.MaxChain {
			return false, fmt.Errorf("%w: conversation '%s' is more than %d bytes (max_chain); delete items or begin a new one",
				ErrTooLarge, c.ID, t.h.c.MaxChain)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	t.h.count.threads.Add(1)
	if most < 0 && due(c.Until, time.Now(), t.h.c.ConversationTTL) {
		t.prolongThread(ctx, thread)
	}
	return thread, nil
}

// prolongThread keeps a conversation for another ConversationTTL. Should it fail, the next reader tries again.
func (t Tenant) prolongThread(ctx context.Context, thread *Thread) {
	until := untilFrom(time.Now(), t.h.c.ConversationTTL)
	chunks := make([]string, thread.last)
	for i := range chunks {
		chunks[i] = chunkID(int64(i + 1))
	}
	spaces := []struct {
		kind string
		ids  []string
	}{
		{ledgerSpace, []string{ledgerID(isConversation, thread.key)}},
		{itemSpace, slices.Collect(maps.Keys(thread.keys))},
		{chunkSpace + thread.conv.Incarnation, chunks},
	}
	for _, s := range spaces {
		if err := t.h.failed(t.h.store.Extend(ctx, t.space(s.kind), s.ids, timeOf(until))); err != nil {
			return
		}
	}
	t.keepGrant(ctx, until)
	c := thread.conv
	c.Until = until
	if t.putConversation(ctx, thread.key, &c) == nil {
		thread.conv = c
		t.h.count.extended.Add(1)
	}
}

// newChunk is what is about to be appended to a thread.
type newChunk struct {
	*Thread
	chunk
	plain   []byte // encoded
	number  int64
	expires int64
}

// nextChunk makes the next chunk of a thread, of those items that it does not have yet, with references resolved. Those
// that were given their ids now have the tag. It writes nothing. nil: there is nothing to add.
func (t Tenant) nextChunk(ctx context.Context, thread *Thread, items []responses.Item, tag string) (*newChunk, error) {
	all, err := t.Resolve(ctx, thread.Items, items)
	if err != nil {
		return nil, err
	}
	added := all[len(Join(thread.Items, nil)):]
	if len(added) == 0 {
		return nil, nil
	}
	n := &newChunk{Thread: thread, number: thread.last + 1, expires: thread.conv.Until}
	n.chunk = chunk{items: slices.Clone(added), incarnation: thread.conv.Incarnation, chunkMeta: chunkMeta{Total: thread.total, Tag: tag}}
	if n.plain, err = n.chunk.encode(); err != nil {
		return nil, err
	}
	if n.Own > t.h.c.MaxResponse {
		return nil, fmt.Errorf("%w: %d bytes of items; %d can be added at once (max_response)", ErrTooLarge, n.Own, t.h.c.MaxResponse)
	}
	if n.Total > t.h.c.MaxChain {
		return nil, fmt.Errorf("%w: conversation '%s' would be %d bytes; %d are possible (max_chain). Delete items or begin a new one",
			ErrTooLarge, thread.ID, n.Total, t.h.c.MaxChain)
	}
	return n, nil
}

// place is where its items will be.
func (n *newChunk) place() place {
	return place{Conversation: n.key, Incarnation: n.incarnation, Chunk: n.number, Size: n.Own}
}

// charge is what the chunk counts for, and records how many there will be more. nil counts for nothing.
func (n *newChunk) charge() int64 {
	if n == nil {
		return 0
	}
	return n.Own + pointerSize*int64(len(pointerKeys(n.items, n.Tag)))
}

// until is the later end of the chunk and of something else.
func (n *newChunk) until(other int64) int64 {
	if n == nil {
		return other
	}
	return later(n.expires, other)
}

func (n *newChunk) records() int64 {
	if n == nil || !n.fresh {
		return 0
	}
	return 1
}

// join makes the chunk, and the conversation if this is its first turn, part of a batch. A conversation that was deleted
// since, or to which another was appended, makes the batch fail as a whole. nil does nothing.
func (n *newChunk) join(ctx context.Context, b *batch) error {
	if n == nil {
		return nil
	}
	if err := n.joinRecord(b); err != nil {
		return err
	}
	again := func(context.Context, *store.Change) error { return n.lost() }
	b.put(chunkSpace+n.incarnation, chunkID(n.number), nil, n.plain, n.number, n.expires, again)
	entry := ledgerID(isConversation, n.key)
	amend := func(ctx context.Context, c *store.Change) error {
		old, err := n.t.raw(ctx, ledgerSpace, entry)
		if err = gone(err); err != nil {
			return err
		}
		// Without an entry it was not counted; with one and no record, that was left by a crash.
		size := n.Total - n.Own
		if old != nil && !n.fresh {
			size, _ = parseValue(old)
		}
		c.Old, c.New = old, ledgerValue(size+n.charge(), n.number, n.incarnation)
		return nil
	}
	b.swap(ledgerSpace, entry, nil, ledgerValue(n.charge(), n.number, n.incarnation), time.Now().UnixMicro(), n.conv.Until, amend)
	if n.fresh {
		return nil
	}
	return amend(ctx, &b.changes[len(b.changes)-1])
}

// joinRecord creates the conversation's record, or sees to it that it is still there.
func (n *newChunk) joinRecord(b *batch) error {
	if n.fresh {
		plain, err := encode(&n.conv)
		if err != nil {
			return err
		}
		again := func(context.Context, *store.Change) error { return n.lost() }
		n.conv.raw = b.put(conversationSpace, n.key, nil, plain, n.conv.CreatedAt, n.conv.Until, again)
		return nil
	}
	again := func(ctx context.Context, c *store.Change) error {
		now, err := n.t.conversation(ctx, n.key)
		if gone(err) != nil {
			return err
		}
		if now.Incarnation != n.incarnation {
			return missing("Conversation", n.ID)
		}
		c.Old, c.New, c.Expires = now.raw, now.raw, timeOf(now.Until)
		return nil
	}
	b.swap(conversationSpace, n.key, n.conv.raw, n.conv.raw, n.conv.CreatedAt, n.conv.Until, again)
	return nil
}

// lost counts a lost race for the conversation, and says so.
func (n *newChunk) lost() error {
	n.t.h.count.conflicts.Add(1)
	return &conversationConflict{n.ID}
}

// conversationConflict is the ErrConflict of who has lost a race for a conversation.
type conversationConflict struct{ id string }

func (e *conversationConflict) Error() string {
	return fmt.Sprintf("conversation '%s' was %s since it was read", e.id, ErrConflict)
}

func (e *conversationConflict) Unwrap() error { return ErrConflict }
