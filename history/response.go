package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/store"
)

// Turn is a response to be stored, with what it answers.
type Turn struct {
	// Response as the client gets it, with its output. It is not changed.
	Response *responses.Response
	// Input is the request's own, as the client has sent it: not what precedes it.
	Input []responses.Item
	// Chain is what the request continues by previous_response_id, and Thread by conversation; at most one is set.
	Chain  *Chain
	Thread *Thread
}

// Save stores a response that has ended, as what it adds: its own input and output, and the ids of some ancestors.
// Items of its input that the chain has already are kept as references. When it returns nil, the response can be got,
// continued, and its items referred to, on every gateway that shares the store: so call it before the client learns of
// the end, with a deadline (250 ms are plenty), and if it fails say "store": false to the client.
//
// A response that is completed or incomplete is also appended to its Thread, before it is stored itself. ErrConflict
// means that another was appended to the conversation since the Thread was read, or that the id is in use, and
// ErrTooLarge that the response passes MaxResponse or its conversation MaxChain; then nothing was stored.
func (t Tenant) Save(ctx context.Context, turn Turn) error {
	if err := t.ready(); err != nil {
		return err
	}
	switch turn.Response.Status {
	case responses.Completed, responses.Incomplete, responses.Failed, responses.Cancelled:
	default:
		return fmt.Errorf("%w: status %.20q of a response that is to be stored; one that runs is stored by Start", ErrInvalid, turn.Response.Status)
	}
	s, err := t.prepare(ctx, turn)
	if err != nil {
		return err
	}
	if err := s.create(ctx); err != nil {
		return err
	}
	t.h.count.wrote(s.size)
	return nil
}

// saving is a response on its way into the store.
type saving struct {
	t      Tenant
	record *record
	items  []byte // the record's, encoded
	echo   []byte // kept apart, or nil
	size   int64
	ids    mint
	chunk  *newChunk // what is appended to the conversation, or nil
	spare  []string  // what it continues, as the ledger has it
}

// whole refuses a response that is completed in name only.
func whole(r *responses.Response) error {
	if r.Status != responses.Completed {
		return nil
	}
	if r.Error != nil || r.IncompleteDetails != nil {
		return fmt.Errorf("%w: response %s is completed and yet has an error or incomplete_details", ErrInvalid, r.ID)
	}
	for i := range r.Output {
		if r.Output[i].Status == responses.InProgress {
			return fmt.Errorf("%w: response %s is completed and yet its item %s is in progress", ErrInvalid, r.ID, r.Output[i].ID)
		}
	}
	return nil
}

// prepare checks a turn and makes its record. It writes nothing.
func (t Tenant) prepare(ctx context.Context, turn Turn) (*saving, error) {
	r := &record{response: *turn.Response}
	if !storable(r.response.ID) {
		return nil, fmt.Errorf("%w: response id %.80q: 1 to 128 letters, digits, - _ or .", ErrInvalid, r.response.ID)
	}
	if turn.Chain != nil && turn.Thread != nil {
		return nil, fmt.Errorf("%w: a response continues another or a conversation, not both", ErrInvalid)
	}
	if err := whole(turn.Response); err != nil {
		return nil, err
	}
	now := time.Now()
	r.Created, r.Until = now.UnixMicro(), untilFrom(now, t.h.c.TTL)
	s := &saving{t: t, record: r, spare: []string{ledgerID(isResponse, r.response.ID)}}
	var past []responses.Item
	switch {
	case turn.Chain != nil:
		turn.Chain.continueTo(&r.meta)
		past = turn.Chain.Items
		s.spare = append(s.spare, turn.Chain.ledger...)
	case turn.Thread != nil:
		past = turn.Thread.Items
		if len(past) > 0 {
			r.Conversation, r.Incarnation, r.Turns = turn.Thread.key, turn.Thread.conv.Incarnation, turn.Thread.last
			r.Total = turn.Thread.total
		}
		s.spare = append(s.spare, ledgerID(isConversation, turn.Thread.key))
	}
	known := map[string]bool{}
	for i := range past {
		known[past[i].ID] = pointable(&past[i])
	}
	r.items = make([]responses.Item, 0, len(turn.Input)+len(turn.Response.Output))
	for _, item := range turn.Input {
		item = normal(item, &s.ids)
		if known[item.ID] && pointable(&item) {
			item = responses.Item{Type: reference, ID: item.ID}
		}
		r.items = append(r.items, item)
	}
	r.Inputs = len(r.items)
	return s, s.finish(ctx, turn.Response, turn.Thread)
}

// finish gives the record its output, and the thread its next chunk if the response has become part of it.
func (s *saving) finish(ctx context.Context, response *responses.Response, thread *Thread) (err error) {
	r := s.record
	r.response, r.Status = *response, response.Status
	if len(r.items) > r.Inputs { // it had an output before, which others may have in hand
		r.items = slices.Clip(r.input())
	}
	for _, item := range response.Output {
		r.items = append(r.items, normal(item, &s.ids))
	}
	r.Tag = s.ids.tag
	r.response.Output = nil
	if err := s.measure(); err != nil {
		return err
	}
	if thread != nil && continuable(r.Status) {
		s.chunk, err = s.t.nextChunk(ctx, thread, r.items, r.Tag)
	}
	return err
}

// measure encodes the items and finds the sizes.
func (s *saving) measure() error {
	r := s.record
	var err error
	if s.items, err = encode(r.items); err != nil {
		return err
	}
	before := r.Total - r.Own
	r.Own = int64(len(s.items))
	r.Total = before + r.Own
	if s.echo, r.EchoApart = nil, len(r.response.Echo) > inlineEcho; r.EchoApart {
		s.echo, r.response.Echo = r.response.Echo, nil
	}
	s.size = r.Own + int64(len(s.echo)+len(r.response.Echo))
	if s.size > s.t.h.c.MaxResponse {
		return fmt.Errorf("%w: response %s is %d bytes with its input; %d are possible (max_response)",
			ErrTooLarge, r.response.ID, s.size, s.t.h.c.MaxResponse)
	}
	return nil
}

// create writes a new response with all that belongs to it.
func (s *saving) create(ctx context.Context) error {
	t, r := s.t, s.record
	id, until := r.response.ID, untilFrom(time.UnixMicro(r.Created), t.h.c.TTL)
	pointers, charged := s.places(until)
	room, err := t.reserve(ctx, 1+s.chunk.records(), charged+s.chunk.charge(), s.chunk.until(until), s.spare...)
	if err != nil {
		return err
	}
	defer room.free()
	plain, err := encodeRecord(r, s.items)
	if err != nil {
		return err
	}
	b := t.batch()
	inUse := func(context.Context, *store.Change) error {
		return fmt.Errorf("%w: the id %s is in use", ErrConflict, id)
	}
	b.swap(ledgerSpace, ledgerID(isResponse, id), nil, ledgerValue(charged, 0, ""), r.Created, until, inUse)
	raw := b.put(responseSpace, id, nil, plain, r.Created, until, inUse)
	if s.echo != nil {
		b.put(echoSpace, id, nil, s.echo, r.Created, until, inUse)
	}
	if err := s.chunk.join(ctx, b); err != nil {
		return err
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

// places are where the items will stand, in the response and in its conversation, and what the response counts for with
// its own.
func (s *saving) places(until int64) (p pointing, charged int64) {
	p = pointing{}
	p.to(s.record.items, s.record.Tag, place{Response: s.record.response.ID, Size: s.size}, until)
	charged = s.size + p.size()
	if s.chunk != nil {
		p.to(s.chunk.items, s.chunk.Tag, s.chunk.place(), s.chunk.expires)
	}
	return p, charged
}

// find reads a response's record.
func (t Tenant) find(ctx context.Context, id string, whole bool) (*record, error) {
	if !storable(id) {
		return nil, missing("Response", id)
	}
	if t.h != nil {
		if err := t.holdEntry(ctx, isResponse, id); err != nil {
			return nil, err
		}
	}
	plain, raw, err := t.get(ctx, responseSpace, id)
	if err != nil {
		return nil, orMissing(err, "Response", id)
	}
	r, err := t.record(plain, whole)
	if err != nil {
		return nil, err
	}
	r.raw = raw
	return r, nil
}

// Response returns a response as the API does, with its output. A background response that is queued or in progress
// and whose gateway has died is failed from this moment on.
// https://platform.openai.com/docs/api-reference/responses/get
func (t Tenant) Response(ctx context.Context, id string) (*responses.Response, error) {
	r, err := t.find(ctx, id, true)
	if err != nil {
		return nil, err
	}
	if r.open() {
		if r, err = t.settle(ctx, r); err != nil {
			return nil, err
		}
	}
	return t.object(ctx, r)
}

// object puts the response object together.
func (t Tenant) object(ctx context.Context, r *record) (*responses.Response, error) {
	response := r.response
	response.Output = slices.Clone(r.output())
	if response.Output == nil {
		response.Output = []responses.Item{}
	}
	if r.EchoApart {
		echo, _, err := t.get(ctx, echoSpace, response.ID)
		if err != nil {
			return nil, orMissing(err, "Response", response.ID)
		}
		response.Echo = echo
	}
	return &response, nil
}

// DeleteResponse removes a response at once and for all. Those that continue it can still be got, but not be continued
// any more. One that runs in the background is cancelled.
// https://platform.openai.com/docs/api-reference/responses/delete
func (t Tenant) DeleteResponse(ctx context.Context, id string) error {
	if t.h == nil || !storable(id) {
		return missing("Response", id)
	}
	if err := t.removeResponse(ctx, id); err != nil {
		return orMissing(err, "Response", id)
	}
	t.lessen(ctx)
	return nil
}

// removeResponse removes a response with all that belongs to it, and then its events.
func (t Tenant) removeResponse(ctx context.Context, id string) error {
	for {
		r, err := t.tryRemove(ctx, id)
		if errors.Is(err, ErrConflict) {
			continue // it has gone on meanwhile
		}
		if err != nil || !r.Background {
			return err
		}
		if err := t.endLease(ctx, id); err != nil {
			return err
		}
		return t.removeEvents(ctx, id)
	}
}

func (t Tenant) tryRemove(ctx context.Context, id string) (*record, error) {
	raw, err := t.raw(ctx, responseSpace, id)
	if err != nil {
		return nil, err
	}
	r := &record{meta: meta{EchoApart: true, Background: true}} // what cannot be read may be anything
	if plain, err := t.open(responseSpace, id, raw); err == nil {
		if known, err := decodeRecord(plain, false); err == nil {
			r = known
		}
	}
	b := t.batch()
	b.swap(responseSpace, id, raw, nil, 0, 0, nil)
	if r.EchoApart {
		b.drop(echoSpace, id)
	}
	if err := b.strike(ctx, ledgerID(isResponse, id)); err != nil {
		return nil, err
	}
	err = b.unpoint(ctx, pointerKeys(r.items, r.Tag), place{Response: id})
	if err == nil {
		err = b.commit(ctx, nil)
	}
	return r, err
}

// InputItems lists the request's own input, normalized, the latest first unless the page says otherwise.
// https://platform.openai.com/docs/api-reference/responses/input-items
func (t Tenant) InputItems(ctx context.Context, id string, p Page) (List[responses.Item], error) {
	if err := p.check("desc"); err != nil {
		return List[responses.Item]{}, err
	}
	r, err := t.find(ctx, id, false)
	if err != nil {
		return List[responses.Item]{}, err
	}
	list, err := pageOf(r.input(), p, itemID)
	if err != nil {
		return list, err
	}
	var ids []string
	for i := range list.Data {
		if list.Data[i].Type == reference {
			ids = append(ids, list.Data[i].ID)
		}
	}
	found, err := t.lookup(ctx, ids)
	for i := range list.Data {
		if item, ok := found[list.Data[i].ID]; ok && list.Data[i].Type == reference {
			list.Data[i] = item
		}
	}
	return list, err
}
