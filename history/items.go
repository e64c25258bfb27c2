package history

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/labiium/chat2response/convert/responses"
)

// pointer says where an item is. The same item may be in several places, a response and a conversation for instance.
// What it points at is checked when it is followed, so a pointer to what was deleted since does no harm.
type pointer struct {
	Places []place `json:"p"` // the latest last
	// Until is when the last of them is removed, in Unix ms; 0: never.
	Until int64 `json:"u,omitzero"`
}

// mostPlaces bounds the places that are remembered of one item; the latest are.
const mostPlaces = 16

// place is a response, or a chunk of a conversation.
type place struct {
	Response     string `json:"r,omitzero"`
	Conversation string `json:"c,omitzero"` // its key
	Incarnation  string `json:"g,omitzero"`
	Chunk        int64  `json:"n,omitzero"`
	// Size is that of the record or chunk, so that what a lookup will cost is known before.
	Size int64 `json:"s,omitzero"`
}

// within tells whether p is in the response or the conversation that q names.
func (p place) within(q place) bool {
	return p.Response == q.Response && p.Conversation == q.Conversation && p.Incarnation == q.Incarnation
}

// later is the later of two expiries, of which 0 is never.
func later(a, b int64) int64 {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}

// merge is the pointer with the places of a newer one.
func (p pointer) merge(newer pointer) pointer {
	for _, n := range newer.Places {
		p = p.without(n)
		p.Places = append(p.Places, n)
	}
	p.Places = p.Places[max(0, len(p.Places)-mostPlaces):]
	p.Until = later(p.Until, newer.Until)
	return p
}

// without is the pointer without what is within a place.
func (p pointer) without(from place) pointer {
	p.Places = slices.DeleteFunc(slices.Clone(p.Places), func(p place) bool { return p.within(from) })
	return p
}

// pointable tells whether an item is found by its id: a reference is not an item, and the output of a local shell
// call bears its call's id.
func pointable(item *responses.Item) bool {
	return item.ID != "" && item.Type != reference && item.Type != "local_shell_call_output"
}

// pointing is what is to be known of where items are, by their keys.
type pointing map[string]pointer

// to adds a place of items, of which those that were given their ids now have the tag.
func (p pointing) to(items []responses.Item, tag string, at place, until int64) {
	here := pointer{[]place{at}, until} // merge copies
	for _, key := range pointerKeys(items, tag) {
		if old, ok := p[key]; ok {
			p[key] = old.merge(here)
			continue
		}
		p[key] = here
	}
}

// size is what pointers count for on the account, beside what they point at.
func (p pointing) size() int64 { return pointerSize * int64(len(p)) }

const (
	// pointerSize is what a pointer counts for: its name and value, and what the stores need to keep it.
	pointerSize = 200
	// maxPointers bounds the pointers of one write.
	maxPointers = 100_000
)

// lookup finds items by their ids; those that are not there are not in the result. It looks in the latest place of
// each, then, for those that are not there any more, in the one before. What it reads at once is bounded by MaxChain,
// or by the largest record.
func (t Tenant) lookup(ctx context.Context, ids []string) (map[string]responses.Item, error) {
	found := map[string]responses.Item{}
	if t.h == nil || len(ids) == 0 {
		return found, nil
	}
	wanted, err := t.placesOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	take := func(items []responses.Item) {
		for i := range items {
			if _, ok := wanted[items[i].ID]; ok && pointable(&items[i]) {
				found[items[i].ID] = items[i]
				delete(wanted, items[i].ID)
			}
		}
	}
	for len(wanted) > 0 {
		inResponses := map[string]int64{}
		inChunks := map[incarnation]map[int64]int64{}
		for id, places := range wanted {
			if len(places) == 0 {
				delete(wanted, id)
				continue
			}
			p := places[len(places)-1]
			wanted[id] = places[:len(places)-1]
			if p.Response != "" {
				inResponses[p.Response] = p.Size
				continue
			}
			in := incarnation{p.Conversation, p.Incarnation}
			if inChunks[in] == nil {
				inChunks[in] = map[int64]int64{}
			}
			inChunks[in][p.Chunk] = p.Size
		}
		if err := t.takeChunks(ctx, inChunks, take); err != nil {
			return nil, err
		}
		if err := t.takeResponses(ctx, inResponses, take); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// placesOf returns the places of items that their pointers know, by the items' ids, the latest last: those of the tag
// that an id may have been given with, and then its own, of when the client has sent it again.
func (t Tenant) placesOf(ctx context.Context, ids []string) (map[string][]place, error) {
	var keys []string
	asked := map[string]bool{}
	ask := func(key string) {
		if !asked[key] {
			asked[key] = true
			keys = append(keys, key)
		}
	}
	for _, id := range ids {
		if tag := tagOf(id); tag != "" {
			ask(tagKey(tag))
		}
		ask(itemKey(id))
	}
	values, err := t.h.store.GetMany(ctx, t.space(itemSpace), keys)
	if err != nil {
		return nil, t.h.failed(err)
	}
	places := map[string][]place{}
	for i, raw := range values {
		if raw == nil {
			continue
		}
		var p pointer
		if err := decode(raw, &p); err != nil {
			return nil, err
		}
		places[keys[i]] = p.Places
	}
	found := map[string][]place{}
	for _, id := range ids {
		all := places[itemKey(id)]
		if tag := tagOf(id); tag != "" {
			all = append(slices.Clone(places[tagKey(tag)]), all...)
		}
		if len(all) > 0 {
			found[id] = all
		}
	}
	return found, nil
}

// takeResponses gives take the items of responses, some at once.
func (t Tenant) takeResponses(ctx context.Context, sizes map[string]int64, take func([]responses.Item)) error {
	var batch []string
	var size int64
	read := func() error {
		if err := t.hold(size); err != nil {
			return err
		}
		values, err := t.getMany(ctx, responseSpace, batch)
		batch, size = batch[:0], 0
		if err != nil {
			return err
		}
		for _, v := range values {
			if v == nil {
				continue
			}
			r, err := t.record(v, false)
			if err != nil {
				return err
			}
			take(r.items)
		}
		return nil
	}
	for id, n := range sizes {
		if len(batch) > 0 && size+n > t.h.c.MaxChain {
			if err := read(); err != nil {
				return err
			}
		}
		batch, size = append(batch, id), size+n
	}
	return read()
}

// incarnation is one conversation of those that have borne an id.
type incarnation struct{ key, name string }

// takeChunks gives take the items of chunks, whose numbers and sizes it is given, provided that their conversations are
// still there. A conversation is not larger than MaxChain.
func (t Tenant) takeChunks(ctx context.Context, chunks map[incarnation]map[int64]int64, take func([]responses.Item)) error {
	for in, sizes := range chunks {
		c, err := t.conversation(ctx, in.key)
		if gone(err) != nil {
			return err
		}
		if c.Incarnation != in.name {
			continue
		}
		var ids []string
		total := int64(0)
		for _, number := range slices.Sorted(maps.Keys(sizes)) {
			ids = append(ids, chunkID(number))
			total += sizes[number]
		}
		if err := t.hold(total); err != nil {
			return err
		}
		values, err := t.getMany(ctx, chunkSpace+in.name, ids)
		if err != nil {
			return err
		}
		for _, v := range values {
			if v == nil {
				continue
			}
			if err := t.weighChunk(v); err != nil {
				return err
			}
			c, err := decodeChunk(v)
			if err != nil {
				return err
			}
			take(c.items)
		}
	}
	return nil
}

// Items returns the items with these ids, in their order, from all responses and conversations of the tenant. An id
// that is not there is ErrNotFound with OpenAI's text for an item_reference.
func (t Tenant) Items(ctx context.Context, ids ...string) ([]responses.Item, error) {
	found, err := t.lookup(ctx, ids)
	if err != nil {
		return nil, err
	}
	items := make([]responses.Item, len(ids))
	for i, id := range ids {
		item, ok := found[id]
		if !ok {
			return nil, fmt.Errorf("Item with id '%s' %w. Items are not persisted when `store` is set to false. "+
				"Try again with `store` set to true, or remove this item from your input.", id, ErrNotFound)
		}
		items[i] = item
	}
	return items, nil
}

// Resolve returns past and input as [Join] does, with the items that the remaining references mean in their places:
// what a model is to be shown. past are the items of a [Chain] or a [Thread], or nil. Items that come to more than
// MaxChain are ErrTooLarge. A reference to what is not there is ErrNotFound, see [Tenant.Items].
func (t Tenant) Resolve(ctx context.Context, past, input []responses.Item) ([]responses.Item, error) {
	return t.resolve(ctx, join(past, input))
}

// resolve replaces the references in all, which is its own to change.
func (t Tenant) resolve(ctx context.Context, all []responses.Item) ([]responses.Item, error) {
	var ids []string
	for i := range all {
		if all[i].Kind() == reference {
			ids = append(ids, all[i].ID)
		}
	}
	if len(ids) == 0 {
		return all, nil
	}
	if len(ids) > maxReferences {
		return nil, fmt.Errorf("%w: %d item references; %d are possible", ErrTooLarge, len(ids), maxReferences)
	}
	items, err := t.Items(ctx, ids...)
	if err != nil {
		return nil, err
	}
	size := int64(0)
	for i := range all {
		if all[i].Kind() != reference {
			continue
		}
		all[i], items = items[0], items[1:]
		text, err := encode(all[i])
		if err != nil {
			return nil, err
		}
		if size += int64(len(text)); size > t.h.c.MaxChain {
			return nil, fmt.Errorf("%w: the referenced items are more than %d bytes (max_chain); leave some out", ErrTooLarge, t.h.c.MaxChain)
		}
	}
	return all, nil
}

// maxReferences bounds the reads that one request can ask for.
const maxReferences = 4096

// Page is a part of a list, as the API's query has it.
// https://platform.openai.com/docs/api-reference/responses/input-items
type Page struct {
	// After is the id of the last one seen; "": from the start.
	After string
	// Limit is how many are wanted, 1 to 100; 0: 20.
	Limit int
	// Order is asc, oldest first, or desc; "": what the API's default for the list is.
	Order string
}

func (p *Page) check(order string) error {
	byDefault(&p.Limit, 20)
	byDefault(&p.Order, order)
	if p.Limit < 1 || p.Limit > 100 {
		return fmt.Errorf("%w: limit is %d; it must be from 1 to 100", ErrInvalid, p.Limit)
	}
	if p.Order != "asc" && p.Order != "desc" {
		return fmt.Errorf("%w: order is %.20q; it must be asc or desc", ErrInvalid, p.Order)
	}
	return nil
}

// List is one page of a list, in the API's form.
type List[T any] struct {
	Object  string  `json:"object"`
	Data    []T     `json:"data"`
	FirstID *string `json:"first_id"`
	LastID  *string `json:"last_id"`
	HasMore bool    `json:"has_more"`
}

// newList makes a page of data, of which more says whether it goes on.
func newList[T any](data []T, more bool, id func(*T) string) List[T] {
	l := List[T]{Object: "list", Data: data, HasMore: more}
	if len(data) == 0 {
		l.Data = []T{}
		return l
	}
	first, last := id(&data[0]), id(&data[len(data)-1])
	l.FirstID, l.LastID = &first, &last
	return l
}

// pageOf cuts a page out of a whole list, which is oldest first.
func pageOf[T any](all []T, p Page, id func(*T) string) (List[T], error) {
	all = slices.Clone(all)
	if p.Order == "desc" {
		slices.Reverse(all)
	}
	if p.After != "" {
		i := slices.IndexFunc(all, func(v T) bool { return id(&v) == p.After })
		if i < 0 {
			return List[T]{}, missing("Item", p.After)
		}
		all = all[i+1:]
	}
	more := len(all) > p.Limit
	return newList(all[:min(len(all), p.Limit)], more, id), nil
}

func itemID(i *responses.Item) string { return i.ID }
