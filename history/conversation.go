package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/responses"
)

// A conversation is a record and, in a space of its own, its chunks, each with the items that one append has added,
// numbered from 1. To create chunk n+1 is to append to a conversation of n chunks: one of two writers who have seen
// the same n succeeds, and nothing else has to be changed for it. (An entry per item would cost a turn four writes
// where this costs one, and rebuilding 200 turns on Redis twice the time: see BenchmarkThread.)
//
// The space is named by the incarnation, so that what a late writer leaves of a deleted conversation is not found by
// a new one under the same id.

// Conversation is a conversation without its items, in the API's form.
// https://platform.openai.com/docs/api-reference/conversations/object
type Conversation struct {
	ID        string         `json:"id"`
	Object    string         `json:"object"` // conversation
	CreatedAt int64          `json:"created_at"`
	Metadata  jsontext.Value `json:"metadata"` // an object, {} when there is none
}

// conversation is its record.
type conversation struct {
	ID          string         `json:"i"` // as the client knows it
	CreatedAt   int64          `json:"c"` // Unix µs
	Metadata    jsontext.Value `json:"m,omitzero"`
	Incarnation string         `json:"g"`
	// Until is when it is removed unless it is used, in Unix ms; 0: never.
	Until int64 `json:"u,omitzero"`

	raw []byte
}

func (c *conversation) public() Conversation {
	p := Conversation{c.ID, "conversation", c.CreatedAt / 1_000_000, c.Metadata}
	if p.Metadata == nil {
		p.Metadata = jsontext.Value("{}")
	}
	return p
}

// checkMetadata refuses what the API does: up to 16 pairs of strings, names of at most 64 characters and values of at
// most 512. https://platform.openai.com/docs/api-reference/conversations/create
func checkMetadata(m jsontext.Value) (jsontext.Value, error) {
	if len(m) == 0 || m.Kind() == 'n' {
		return nil, nil
	}
	var pairs map[string]string
	if err := json.Unmarshal(m, &pairs); err != nil || m.Kind() != '{' {
		return nil, fmt.Errorf("%w: metadata is not an object of strings", ErrInvalid)
	}
	if len(pairs) > 16 {
		return nil, fmt.Errorf("%w: metadata has %d pairs; 16 are possible", ErrInvalid, len(pairs))
	}
	for name, value := range pairs {
		if len([]rune(name)) > 64 || len([]rune(value)) > 512 {
			return nil, fmt.Errorf("%w: metadata %.70q: a name has at most 64 characters and a value 512", ErrInvalid, name)
		}
	}
	m = bytes.Clone(m)
	err := m.Compact()
	return m, err
}

// conversation reads a record by its key. ErrNotFound is bare.
func (t Tenant) conversation(ctx context.Context, key string) (conversation, error) {
	var c conversation
	plain, raw, err := t.get(ctx, conversationSpace, key)
	if err != nil {
		return c, err
	}
	err = decode(plain, &c)
	c.raw = raw
	return c, err
}

func (t Tenant) findConversation(ctx context.Context, id string) (conversation, error) {
	c, err := t.conversation(ctx, conversationKey(id))
	if errors.Is(err, ErrNotFound) {
		t.h.miss()
	}
	return c, orMissing(err, "Conversation", id)
}

// newConversation is one that is not stored yet.
func (t Tenant) newConversation(id string, metadata jsontext.Value) conversation {
	now := time.Now()
	return conversation{
		ID: id, CreatedAt: now.UnixMicro(), Metadata: metadata, Incarnation: randomHex(12),
		Until: untilFrom(now, t.h.c.ConversationTTL),
	}
}

// putConversation writes a record where c.raw is.
func (t Tenant) putConversation(ctx context.Context, key string, c *conversation) error {
	plain, err := encode(c)
	if err != nil {
		return err
	}
	raw, err := t.put(ctx, conversationSpace, key, c.raw, plain, c.CreatedAt, c.Until)
	if err == nil {
		c.raw = raw
	}
	return err
}

// enterConversation creates a record without items, with its entry in the ledger. ErrConflict: it exists.
func (t Tenant) enterConversation(ctx context.Context, key string, c *conversation) error {
	room, err := t.reserve(ctx, 1, 0, c.Until)
	if err != nil {
		return err
	}
	defer room.free()
	plain, err := encode(c)
	if err != nil {
		return err
	}
	b := t.batch()
	c.raw = b.put(conversationSpace, key, nil, plain, c.CreatedAt, c.Until, nil)
	b.swap(ledgerSpace, ledgerID(isConversation, key), nil, ledgerValue(0, 0, c.Incarnation), c.CreatedAt, c.Until, nil)
	return b.commit(ctx, room)
}

// CreateConversation makes a conversation of up to 20 items and metadata, both optional.
// https://platform.openai.com/docs/api-reference/conversations/create
func (t Tenant) CreateConversation(ctx context.Context, items []responses.Item, metadata jsontext.Value) (Conversation, error) {
	if err := t.ready(); err != nil {
		return Conversation{}, err
	}
	metadata, err := checkMetadata(metadata)
	if err != nil {
		return Conversation{}, err
	}
	thread := &Thread{t: t, key: NewID(conversationPrefix), fresh: true}
	thread.ID, thread.conv = thread.key, t.newConversation(thread.key, metadata)
	if len(items) == 0 {
		return thread.conv.public(), t.enterConversation(ctx, thread.key, &thread.conv)
	}
	_, err = t.appendTo(ctx, thread, items)
	return thread.conv.public(), err
}

// Conversation returns a conversation without its items.
// https://platform.openai.com/docs/api-reference/conversations/retrieve
func (t Tenant) Conversation(ctx context.Context, id string) (Conversation, error) {
	c, err := t.findConversation(ctx, id)
	if err != nil {
		return Conversation{}, err
	}
	return c.public(), nil
}

// UpdateConversation replaces a conversation's metadata.
// https://platform.openai.com/docs/api-reference/conversations/update
func (t Tenant) UpdateConversation(ctx context.Context, id string, metadata jsontext.Value) (Conversation, error) {
	metadata, err := checkMetadata(metadata)
	if err != nil {
		return Conversation{}, err
	}
	for {
		c, err := t.findConversation(ctx, id)
		if err != nil {
			return Conversation{}, err
		}
		c.Metadata = metadata
		err = t.putConversation(ctx, conversationKey(id), &c)
		if err == nil {
			return c.public(), nil
		}
		if !errors.Is(err, ErrConflict) {
			return Conversation{}, err
		}
	}
}

// DeleteConversation removes a conversation with its items. Responses that were made in it keep their own, but cannot
// be continued by previous_response_id any more if anything came before them in the conversation.
// https://platform.openai.com/docs/api-reference/conversations/delete
func (t Tenant) DeleteConversation(ctx context.Context, id string) error {
	if err := t.removeConversation(ctx, conversationKey(id)); err != nil {
		return orMissing(err, "Conversation", id)
	}
	t.lessen(ctx)
	return nil
}

// removeConversation removes the record first, with which everything is out of reach, and the entry in the ledger last:
// should it end in between, what is left is on the account until it expires.
func (t Tenant) removeConversation(ctx context.Context, key string) error {
	var c conversation
	for {
		raw, err := t.raw(ctx, conversationSpace, key)
		if err != nil {
			return err
		}
		c = conversation{}
		if plain, err := t.open(conversationSpace, key, raw); err == nil {
			_ = decode(plain, &c)
		}
		b := t.batch()
		b.swap(conversationSpace, key, raw, nil, 0, 0, nil)
		err = b.commit(ctx, nil)
		if err == nil {
			break
		}
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
	if c.Incarnation != "" { // else it is unreadable; its chunks expire
		if err := t.removeChunks(ctx, key, c.Incarnation); err != nil {
			return err
		}
	}
	return t.strikeConversation(ctx, key)
}

// removeChunks removes a conversation's items, with the pointers to them, some chunks at once.
func (t Tenant) removeChunks(ctx context.Context, key, incarnation string) error {
	b, keys := t.batch(), map[string]bool{}
	remove := func() error {
		if len(b.changes) == 0 {
			return nil
		}
		err := b.unpoint(ctx, slices.Collect(maps.Keys(keys)), place{Conversation: key, Incarnation: incarnation})
		if err == nil {
			err = b.commit(ctx, nil)
		}
		b = t.batch()
		clear(keys)
		return err
	}
	err := t.Within(nil).eachChunk(ctx, incarnation, 0, 64, false, true, func(number int64, c *chunk) (bool, error) {
		b.drop(chunkSpace+incarnation, chunkID(number))
		for _, key := range pointerKeys(c.items, c.Tag) {
			keys[key] = true
		}
		if len(b.changes) < 64 && len(keys) < 1000 {
			return true, nil
		}
		return true, remove()
	})
	if err != nil {
		return err
	}
	return remove()
}

// strikeConversation takes a conversation that is not there any more off the ledger; one that was begun anew under its id
// meanwhile, and has the entry, keeps it.
func (t Tenant) strikeConversation(ctx context.Context, key string) error {
	for {
		b := t.batch()
		if err := b.strike(ctx, ledgerID(isConversation, key)); err != nil || len(b.changes) == 0 {
			return err
		}
		if _, err := t.raw(ctx, conversationSpace, key); !errors.Is(err, ErrNotFound) {
			return err
		}
		// Whoever begins it now changes the entry, for it has the conversation's incarnation in it.
		if err := b.commit(ctx, nil); !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

// AppendItems adds up to 20 items at the end of a conversation and returns them as they are kept. Items that are in it
// already, told by their ids, are not added again.
// https://platform.openai.com/docs/api-reference/conversations/create-items
func (t Tenant) AppendItems(ctx context.Context, id string, items []responses.Item) (List[responses.Item], error) {
	for range 100 {
		// What is appended does not depend on what is there, so a lost race is run again.
		added, ok, err := t.appendToEnd(ctx, id, items)
		if !ok {
			var thread *Thread
			if thread, err = t.Thread(ctx, id); err != nil {
				return List[responses.Item]{}, err
			}
			added, err = t.appendTo(ctx, thread, items)
		}
		if err == nil {
			return newList(added, false, itemID), nil
		}
		if !errors.Is(err, ErrConflict) {
			return List[responses.Item]{}, err
		}
	}
	return List[responses.Item]{}, fmt.Errorf("conversation '%s' was %w 100 times in a row; try again", id, ErrConflict)
}

// appendToEnd is appendTo of a conversation of which only the record and the last chunk are read, so that one of n items is
// built by n times the same and not by n times what is there. It is not ok, and has written nothing, where that is not
// enough to know: the conversation is to be prolonged, or looks too large by a sum that deletions have made too high, or a
// pointer does not know all places of an item.
func (t Tenant) appendToEnd(ctx context.Context, id string, items []responses.Item) (added []responses.Item, ok bool, err error) {
	key := conversationKey(id)
	c, err := t.findConversation(ctx, id)
	if err != nil {
		return nil, true, err
	}
	if due(c.Until, time.Now(), t.h.c.ConversationTTL) {
		return nil, false, nil
	}
	thread := &Thread{ID: c.ID, t: t, key: key, conv: c}
	err = t.eachChunk(ctx, c.Incarnation, 0, 1, true, false, func(number int64, last *chunk) (bool, error) {
		thread.last, thread.total = number, last.Total
		return false, nil
	})
	if err != nil {
		return nil, true, err
	}
	var ids []string
	for i := range items {
		if items[i].ID == "" {
			continue
		}
		if items[i].Kind() == "local_shell_call_output" { // which has no pointer
			return nil, false, nil
		}
		ids = append(ids, items[i].ID)
	}
	there, known, err := t.inConversation(ctx, key, &c, ids)
	if err != nil || !known {
		return nil, err != nil, err
	}
	fresh := slices.DeleteFunc(slices.Clone(items), func(i responses.Item) bool { return there[identity(&i)] })
	if len(fresh) == 0 && len(items) > 0 {
		return nil, true, nil
	}
	added, err = t.appendTo(ctx, thread, fresh)
	if errors.Is(err, ErrTooLarge) {
		return nil, false, nil // looked at closely
	}
	return added, true, err
}

// inConversation tells which of these ids are those of items in a conversation, as far as their pointers say, and whether
// they say all.
func (t Tenant) inConversation(ctx context.Context, key string, c *conversation, ids []string) (there map[string]bool, known bool, err error) {
	there = map[string]bool{}
	if len(ids) == 0 {
		return there, true, nil
	}
	places, err := t.placesOf(ctx, ids)
	if err != nil {
		return nil, false, err
	}
	for _, id := range ids {
		if len(places[id]) >= mostPlaces {
			return nil, false, nil // it may have been in more
		}
		for _, p := range places[id] {
			if p.Conversation != key || p.Incarnation != c.Incarnation || there[id] {
				continue
			}
			chunk, err := t.chunk(ctx, c.Incarnation, p.Chunk)
			if gone(err) != nil {
				return nil, false, err
			}
			there[id] = err == nil && chunk.index(id) >= 0
		}
	}
	return there, true, nil
}

// appendTo adds items of one call to a thread.
func (t Tenant) appendTo(ctx context.Context, thread *Thread, items []responses.Item) ([]responses.Item, error) {
	if len(items) == 0 || len(items) > MaxItemsPerCall {
		return nil, fmt.Errorf("%w: %d items; 1 to %d can be added at once", ErrInvalid, len(items), MaxItemsPerCall)
	}
	var ids mint
	own := make([]responses.Item, len(items))
	for i := range items {
		own[i] = normal(items[i], &ids)
	}
	n, err := t.nextChunk(ctx, thread, own, ids.tag)
	if err != nil || n == nil {
		return nil, err
	}
	room, err := t.reserve(ctx, n.records(), n.charge(), n.expires, ledgerID(isConversation, n.key))
	if err != nil {
		return nil, err
	}
	defer room.free()
	b := t.batch()
	if err := n.join(ctx, b); err != nil {
		return nil, err
	}
	pointers := pointing{}
	pointers.to(n.items, n.Tag, n.place(), n.expires)
	if err := b.point(pointers); err != nil {
		return nil, err
	}
	if err := b.commit(ctx, room); err != nil {
		return nil, err
	}
	t.h.count.wrote(n.Own)
	return n.items, nil
}

// ConversationItems lists a conversation's items, the latest first unless the page says otherwise.
// https://platform.openai.com/docs/api-reference/conversations/list-items
func (t Tenant) ConversationItems(ctx context.Context, id string, p Page) (List[responses.Item], error) {
	var none List[responses.Item]
	if err := p.check("desc"); err != nil {
		return none, err
	}
	c, err := t.findConversation(ctx, id)
	if err != nil {
		return none, err
	}
	from, skip := int64(0), false
	if p.After != "" {
		if from, _, err = t.locate(ctx, conversationKey(id), &c, p.After); err != nil {
			return none, err
		}
		skip = true
		from-- // its own chunk may have more
		if p.Order == "desc" {
			from += 2
		}
	}
	var items []responses.Item
	err = t.eachChunk(ctx, c.Incarnation, from, 16, p.Order == "desc", false, func(_ int64, chunk *chunk) (bool, error) {
		for i := range chunk.items {
			item := chunk.items[i]
			if p.Order == "desc" {
				item = chunk.items[len(chunk.items)-1-i]
			}
			if skip {
				skip = item.ID != p.After
				continue
			}
			if items = append(items, item); len(items) > p.Limit {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return none, err
	}
	more := len(items) > p.Limit
	return newList(items[:min(len(items), p.Limit)], more, itemID), nil
}

// ConversationItem returns one item of a conversation.
// https://platform.openai.com/docs/api-reference/conversations/get-item
func (t Tenant) ConversationItem(ctx context.Context, id, item string) (responses.Item, error) {
	c, err := t.findConversation(ctx, id)
	if err != nil {
		return responses.Item{}, err
	}
	_, chunk, err := t.locate(ctx, conversationKey(id), &c, item)
	if err != nil {
		return responses.Item{}, err
	}
	return chunk.items[chunk.index(item)], nil
}

// DeleteConversationItem removes one item of a conversation, and returns the conversation.
// https://platform.openai.com/docs/api-reference/conversations/delete-item
func (t Tenant) DeleteConversationItem(ctx context.Context, id, item string) (Conversation, error) {
	key := conversationKey(id)
	for {
		c, err := t.findConversation(ctx, id)
		if err != nil {
			return Conversation{}, err
		}
		number, chunk, err := t.locate(ctx, key, &c, item)
		if err != nil {
			return Conversation{}, err
		}
		if err = t.removeItem(ctx, key, &c, number, chunk, item); errors.Is(err, ErrConflict) {
			continue
		}
		return c.public(), err
	}
}

// removeItem takes an item out of a chunk, off the ledger, and its pointer, if it has one of its own, with it.
func (t Tenant) removeItem(ctx context.Context, key string, c *conversation, number int64, from *chunk, item string) error {
	before := from.Own
	removed := from.without(item)
	plain, err := from.encode()
	if err != nil {
		return err
	}
	b := t.batch()
	b.put(chunkSpace+from.incarnation, chunkID(number), from.raw, plain, number, c.Until, nil)
	var keys []string
	for _, key := range pointerKeys(removed, from.Tag) {
		if key != tagKey(from.Tag) { // which others have too
			keys = append(keys, key)
		}
	}
	if err := b.unpoint(ctx, keys, place{Conversation: key, Incarnation: c.Incarnation}); err != nil {
		return err
	}
	entry := ledgerID(isConversation, key)
	old, err := t.raw(ctx, ledgerSpace, entry)
	if err = gone(err); err != nil {
		return err
	}
	if old != nil {
		size, turn := parseValue(old)
		size = max(0, size-(before-from.Own)-pointerSize*int64(len(keys)))
		b.swap(ledgerSpace, entry, old, ledgerValue(size, turn, c.Incarnation), time.Now().UnixMicro(), c.Until, nil)
	}
	return b.commit(ctx, nil)
}
