package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// enterConversation creates a record, and before it its entry in the ledger. ErrConflict: it exists.
func (t Tenant) enterConversation(ctx context.Context, key string, c *conversation) error {
	room, err := t.reserve(ctx, 1, 0)
	if err != nil {
		return err
	}
	defer room.free()
	// An entry without a record was left by a crash, or is being used at this moment by someone who will create it.
	if err := t.enter(ctx, room, isConversation, key, c.CreatedAt, c.Until); err != nil && !errors.Is(err, ErrConflict) {
		return err
	}
	return t.putConversation(ctx, key, c)
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
	key := conversationKey(id)
	if err := t.removeConversation(ctx, key); err != nil {
		return orMissing(err, "Conversation", id)
	}
	return t.strikeOff(ctx, isConversation, key)
}

// removeConversation removes the record first, with which everything is out of reach.
func (t Tenant) removeConversation(ctx context.Context, key string) error {
	c, err := t.conversation(ctx, key)
	if err != nil && !errors.Is(err, ErrUnreadable) {
		return err
	}
	if err := t.delete(ctx, conversationSpace, key); err != nil {
		return err
	}
	if c.Incarnation == "" {
		return nil // unreadable; its chunks expire
	}
	return t.eachChunk(ctx, c.Incarnation, 0, 64, false, func(number int64, c *chunk) (bool, error) {
		if err := gone(t.delete(ctx, chunkSpace+c.incarnation, chunkID(number))); err != nil {
			return false, err
		}
		return true, t.unpoint(ctx, c.items, place{Conversation: key, Incarnation: c.incarnation})
	})
}

// AppendItems adds up to 20 items at the end of a conversation and returns them as they are kept. Items that are in it
// already, told by their ids, are not added again.
// https://platform.openai.com/docs/api-reference/conversations/create-items
func (t Tenant) AppendItems(ctx context.Context, id string, items []responses.Item) (List[responses.Item], error) {
	for range 100 {
		// What is appended does not depend on what is there, so a lost race is run again.
		thread, err := t.Thread(ctx, id)
		if err != nil {
			return List[responses.Item]{}, err
		}
		added, err := t.appendTo(ctx, thread, items)
		if err == nil {
			return newList(added, false, itemID), nil
		}
		if !errors.Is(err, ErrConflict) {
			return List[responses.Item]{}, err
		}
	}
	return List[responses.Item]{}, fmt.Errorf("conversation '%s' was %w 100 times in a row; try again", id, ErrConflict)
}

// appendTo adds items of one call to a thread.
func (t Tenant) appendTo(ctx context.Context, thread *Thread, items []responses.Item) ([]responses.Item, error) {
	if len(items) == 0 || len(items) > MaxItemsPerCall {
		return nil, fmt.Errorf("%w: %d items; 1 to %d can be added at once", ErrInvalid, len(items), MaxItemsPerCall)
	}
	own := make([]responses.Item, len(items))
	for i := range items {
		own[i] = normal(items[i])
	}
	n, err := t.nextChunk(ctx, thread, own)
	if err != nil || n == nil {
		return nil, err
	}
	growth, err := n.open(ctx, []string{ledgerID(isConversation, n.key)})
	if err != nil {
		return nil, err
	}
	defer growth.free()
	pointers := pointing{}
	pointers.to(n.items, n.place(), n.expires)
	if err := t.point(ctx, pointers); err != nil {
		return nil, err
	}
	if err := n.write(ctx, growth); err != nil {
		return nil, err
	}
	t.h.count.wrote(n.Own)
	return n.items, t.repoint(ctx, pointers)
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
	err = t.eachChunk(ctx, c.Incarnation, from, 16, p.Order == "desc", func(_ int64, chunk *chunk) (bool, error) {
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
		removed := chunk.without(item)
		err = t.putChunk(ctx, number, chunk, c.Until)
		if errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil {
			return Conversation{}, err
		}
		return c.public(), t.unpoint(ctx, removed, place{Conversation: key, Incarnation: c.Incarnation})
	}
}
