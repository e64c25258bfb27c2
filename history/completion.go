package history

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/store"
)

// Completion is a chat completion that was made with store:true.
// https://platform.openai.com/docs/api-reference/chat/list
type Completion struct {
	ID       string
	Model    string
	Metadata jsontext.Value // an object of strings, or nil
	// Object is the chat.completion as the client got it.
	Object jsontext.Value
	// Messages are the request's.
	Messages []jsontext.Value
}

// A chat completion is two values: a small one with what lists are filtered by and what can change, and the rest.
type chatHead struct {
	Model    string         `json:"m"`
	Metadata jsontext.Value `json:"d,omitzero"`
	Created  int64          `json:"c"` // its place in the order, Unix µs
	Size     int64          `json:"s"`
	Until    int64          `json:"u"`

	id  string
	raw []byte
}

type chatBody struct {
	Object   jsontext.Value   `json:"o"`
	Messages []jsontext.Value `json:"m"`
}

// SaveCompletion stores a chat completion. When it returns nil, every gateway that shares the store can get it.
// ErrConflict: the id is in use.
func (t Tenant) SaveCompletion(ctx context.Context, c Completion) error {
	if err := t.ready(); err != nil {
		return err
	}
	if !storable(c.ID) {
		return fmt.Errorf("%w: chat completion id %.80q: 1 to 128 letters, digits, - _ or .", ErrInvalid, c.ID)
	}
	metadata, err := checkMetadata(c.Metadata)
	if err != nil {
		return err
	}
	if _, err := objectOf(c.Object, nil); err != nil {
		return fmt.Errorf("%w: chat completion %s is not a JSON object: %w", ErrInvalid, c.ID, err)
	}
	for i, m := range c.Messages {
		if m.Kind() != '{' {
			return fmt.Errorf("%w: message %d of chat completion %s is not a JSON object", ErrInvalid, i, c.ID)
		}
	}
	body, err := encode(chatBody{c.Object, c.Messages})
	if err != nil {
		return fmt.Errorf("%w: messages of chat completion %s: %w", ErrInvalid, c.ID, err)
	}
	now := time.Now()
	head := chatHead{
		Model: c.Model, Metadata: metadata, Created: now.UnixMicro(), Size: int64(len(body) + len(metadata)),
		Until: untilFrom(now, t.h.c.TTL), id: c.ID,
	}
	if head.Size > t.h.c.MaxResponse {
		return fmt.Errorf("%w: chat completion %s is %d bytes with its messages; %d are possible (max_response)",
			ErrTooLarge, c.ID, head.Size, t.h.c.MaxResponse)
	}
	room, err := t.reserve(ctx, 1, head.Size, head.Until)
	if err != nil {
		return err
	}
	defer room.free()
	plain, err := encode(&head)
	if err != nil {
		return err
	}
	b := t.batch()
	inUse := func(context.Context, *store.Change) error {
		return fmt.Errorf("%w: the id %s is in use", ErrConflict, c.ID)
	}
	b.swap(ledgerSpace, ledgerID(isChat, c.ID), nil, ledgerValue(head.Size, 0, ""), head.Created, head.Until, inUse)
	b.put(chatBodySpace, c.ID, nil, body, head.Created, head.Until, inUse)
	b.put(chatSpace, c.ID, nil, plain, head.Created, head.Until, inUse)
	if err := b.commit(ctx, room); err != nil {
		return err
	}
	t.h.count.wrote(head.Size)
	return nil
}

func (t Tenant) putHead(ctx context.Context, head *chatHead) error {
	plain, err := encode(head)
	if err == nil {
		_, err = t.put(ctx, chatSpace, head.id, head.raw, plain, head.Created, head.Until)
	}
	return err
}

func (t Tenant) findChat(ctx context.Context, id string) (*chatHead, error) {
	if !storable(id) {
		return nil, missing("Chat completion", id)
	}
	plain, raw, err := t.get(ctx, chatSpace, id)
	if err != nil {
		return nil, orMissing(err, "Chat completion", id)
	}
	head := &chatHead{id: id, raw: raw}
	return head, decode(plain, head)
}

// body reads what a head does not have.
func (t Tenant) body(ctx context.Context, head *chatHead) (*chatBody, error) {
	id := head.id
	if err := t.hold(head.Size); err != nil {
		return nil, err
	}
	plain, _, err := t.get(ctx, chatBodySpace, id)
	if err != nil {
		return nil, orMissing(err, "Chat completion", id)
	}
	body := &chatBody{}
	if err := t.weigh(plain); err != nil {
		return nil, err
	}
	return body, decode(plain, body)
}

// objectOf is a chat.completion with this metadata.
func objectOf(object, metadata jsontext.Value) (jsontext.Value, error) {
	var o struct {
		Metadata jsontext.Value `json:"metadata"`
		Rest     jsontext.Value `json:",embed"`
	}
	if object.Kind() != '{' {
		return nil, errors.New("it is not an object")
	}
	if err := decode(object, &o); err != nil {
		return nil, err
	}
	if o.Metadata = metadata; metadata == nil {
		o.Metadata = jsontext.Value("{}")
	}
	out, err := encode(&o)
	return out, err
}

// Completion returns a stored chat completion with its metadata as they are now.
// https://platform.openai.com/docs/api-reference/chat/get
func (t Tenant) Completion(ctx context.Context, id string) (jsontext.Value, error) {
	head, err := t.findChat(ctx, id)
	if err != nil {
		return nil, err
	}
	body, err := t.body(ctx, head)
	if err != nil {
		return nil, err
	}
	return objectOf(body.Object, head.Metadata)
}

// UpdateCompletion replaces a chat completion's metadata and returns it.
// https://platform.openai.com/docs/api-reference/chat/update
func (t Tenant) UpdateCompletion(ctx context.Context, id string, metadata jsontext.Value) (jsontext.Value, error) {
	metadata, err := checkMetadata(metadata)
	if err != nil {
		return nil, err
	}
	for {
		head, err := t.findChat(ctx, id)
		if err != nil {
			return nil, err
		}
		head.Metadata = metadata
		if err = t.putHead(ctx, head); err == nil {
			return t.Completion(ctx, id)
		}
		if !errors.Is(err, ErrConflict) {
			return nil, err
		}
	}
}

// DeleteCompletion removes a chat completion at once.
// https://platform.openai.com/docs/api-reference/chat/delete
func (t Tenant) DeleteCompletion(ctx context.Context, id string) error {
	if t.h == nil || !storable(id) {
		return missing("Chat completion", id)
	}
	if err := t.removeChat(ctx, id); err != nil {
		return orMissing(err, "Chat completion", id)
	}
	t.lessen(ctx)
	return nil
}

func (t Tenant) removeChat(ctx context.Context, id string) error {
	for {
		raw, err := t.raw(ctx, chatSpace, id)
		if err != nil {
			return err
		}
		b := t.batch()
		b.swap(chatSpace, id, raw, nil, 0, 0, nil)
		b.drop(chatBodySpace, id)
		if err := b.strike(ctx, ledgerID(isChat, id)); err != nil {
			return err
		}
		if err := b.commit(ctx, nil); !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

// CompletionFilter says which chat completions are listed.
type CompletionFilter struct {
	// Model is the model's name; "": any.
	Model string
	// Metadata are pairs that all must be there.
	Metadata map[string]string
}

func (f CompletionFilter) takes(head *chatHead) bool {
	if f.Model != "" && f.Model != head.Model {
		return false
	}
	if len(f.Metadata) == 0 {
		return true
	}
	var has map[string]string
	if len(head.Metadata) == 0 || decode(head.Metadata, &has) != nil {
		return false
	}
	for name, value := range f.Metadata {
		if v, ok := has[name]; !ok || v != value {
			return false
		}
	}
	return true
}

// Completions lists stored chat completions, the oldest first unless the page says otherwise. A page may be shorter
// than its limit and yet not the last, where longer would be more than 16 MiB.
// https://platform.openai.com/docs/api-reference/chat/list
func (t Tenant) Completions(ctx context.Context, f CompletionFilter, p Page) (List[jsontext.Value], error) {
	var none List[jsontext.Value]
	if err := p.check("asc"); err != nil {
		return none, err
	}
	if err := t.ready(); err != nil {
		return none, err
	}
	from := store.Page{Limit: 100, Reverse: p.Order == "desc"}
	if p.After != "" {
		after, err := t.findChat(ctx, p.After)
		if err != nil {
			return none, err
		}
		from.After = store.Position{Score: after.Created, ID: p.After}
	}
	var heads []*chatHead
	var size int64
	for {
		page, err := t.h.store.List(ctx, t.space(chatSpace), from)
		if err != nil {
			return none, t.h.failed(err)
		}
		for _, e := range page {
			from.After = e.Position
			plain, err := t.open(chatSpace, e.ID, e.Value)
			if err != nil {
				return none, err
			}
			head := &chatHead{id: e.ID}
			if err := decode(plain, head); err != nil {
				return none, err
			}
			if !f.takes(head) {
				continue
			}
			if size += head.Size; len(heads) == p.Limit || len(heads) > 0 && size > maxListed {
				return t.completions(ctx, heads, true)
			}
			heads = append(heads, head)
		}
		if len(page) < from.Limit {
			return t.completions(ctx, heads, false)
		}
	}
}

// maxListed bounds the bodies of one page.
const maxListed = 16 << 20

func (t Tenant) completions(ctx context.Context, heads []*chatHead, more bool) (List[jsontext.Value], error) {
	ids := make([]string, len(heads))
	size := int64(0)
	for i, head := range heads {
		ids[i] = head.id
		size += head.Size
	}
	if err := t.hold(size); err != nil {
		return List[jsontext.Value]{}, err
	}
	values, err := t.getMany(ctx, chatBodySpace, ids)
	if err != nil {
		return List[jsontext.Value]{}, err
	}
	var objects []jsontext.Value
	var listed []string
	for i, v := range values {
		if v == nil {
			continue // deleted at this moment
		}
		var body chatBody
		if err := decode(v, &body); err != nil {
			return List[jsontext.Value]{}, err
		}
		object, err := objectOf(body.Object, heads[i].Metadata)
		if err != nil {
			return List[jsontext.Value]{}, err
		}
		objects, listed = append(objects, object), append(listed, ids[i])
	}
	list := newList(objects, more, func(*jsontext.Value) string { return "" })
	if len(listed) > 0 {
		list.FirstID, list.LastID = &listed[0], &listed[len(listed)-1]
	}
	return list, nil
}

// CompletionMessages lists the messages of the request, each with an id, the first one first unless the page says
// otherwise. https://platform.openai.com/docs/api-reference/chat/getMessages
func (t Tenant) CompletionMessages(ctx context.Context, id string, p Page) (List[jsontext.Value], error) {
	var none List[jsontext.Value]
	if err := p.check("asc"); err != nil {
		return none, err
	}
	head, err := t.findChat(ctx, id)
	if err != nil {
		return none, err
	}
	body, err := t.body(ctx, head)
	if err != nil {
		return none, err
	}
	type message struct {
		ID   string         `json:"id"`
		Rest jsontext.Value `json:",embed"`
	}
	messages := make([]message, len(body.Messages))
	for i, m := range body.Messages {
		if err := decode(m, &messages[i]); err != nil {
			return none, err
		}
		messages[i].ID = fmt.Sprintf("%s-%d", id, i)
	}
	page, err := pageOf(messages, p, func(m *message) string { return m.ID })
	if err != nil {
		return none, err
	}
	list := List[jsontext.Value]{Object: page.Object, FirstID: page.FirstID, LastID: page.LastID, HasMore: page.HasMore, Data: []jsontext.Value{}}
	for i := range page.Data {
		text, err := encode(&page.Data[i])
		if err != nil {
			return none, err
		}
		list.Data = append(list.Data, text)
	}
	return list, nil
}
