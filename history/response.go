package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/labiium/chat2response/convert/responses"
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
	for _, item := range turn.Input {
		item = normal(item)
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
	r.items = slices.Clip(r.input())
	for _, item := range response.Output {
		r.items = append(r.items, normal(item))
	}
	r.response.Output = nil
	if err := s.measure(); err != nil {
		return err
	}
	if thread != nil && continuable(r.Status) {
		s.chunk, err = s.t.nextChunk(ctx, thread, r.items)
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

// create writes a new response. The record is last: it is there when everything is.
func (s *saving) create(ctx context.Context) error {
	t, r := s.t, s.record
	id, until := r.response.ID, untilFrom(time.UnixMicro(r.Created), t.h.c.TTL)
	room, err := t.reserve(ctx, 1, s.size, s.spare...)
	if err != nil {
		return err
	}
	defer room.free()
	pointers, growth, err := s.places(ctx, until)
	if err != nil {
		return err
	}
	defer growth.free()
	besides := []func() error{
		func() error { return t.enter(ctx, room, isResponse, id, r.Created, until) },
		func() error { return t.point(ctx, pointers) },
		func() error {
			_, err := t.put(ctx, echoSpace, id, nil, s.echo, r.Created, until)
			return err
		},
	}
	if s.echo == nil {
		besides = besides[:2]
	}
	err = each(len(besides), func(i int) error { return besides[i]() })
	if errors.Is(err, ErrConflict) {
		return err // the id is another's, and so is its entry in the ledger
	}
	if err == nil && s.chunk != nil {
		err = s.chunk.write(ctx, growth)
	}
	if err != nil {
		s.undo(context.WithoutCancel(ctx))
		return err
	}
	plain, err := encodeRecord(r, s.items)
	if err != nil {
		return err
	}
	if r.raw, err = t.put(ctx, responseSpace, id, nil, plain, r.Created, until); err != nil {
		return err // perhaps it was written, so its ledger entry stays
	}
	return t.repoint(ctx, pointers)
}

// places opens the conversation's chunk, if there is one, and returns where the items will stand and the room that the
// chunk has reserved.
func (s *saving) places(ctx context.Context, until int64) (pointers pointing, growth *reservation, err error) {
	pointers, growth = pointing{}, &reservation{}
	pointers.to(s.record.items, place{Response: s.record.response.ID, Size: s.size}, until)
	if s.chunk == nil {
		return pointers, growth, nil
	}
	if growth, err = s.chunk.open(ctx, s.spare); err != nil {
		return nil, nil, err
	}
	pointers.to(s.chunk.items, s.chunk.place(), s.chunk.expires)
	return pointers, growth, nil
}

// undo takes back what create has written before the record. What it misses expires.
func (s *saving) undo(ctx context.Context) {
	id := s.record.response.ID
	if s.echo != nil {
		_ = s.t.delete(ctx, echoSpace, id)
	}
	_ = s.t.strikeOff(ctx, isResponse, id)
}

// find reads a response's record.
func (t Tenant) find(ctx context.Context, id string, whole bool) (*record, error) {
	if !storable(id) {
		return nil, missing("Response", id)
	}
	plain, raw, err := t.get(ctx, responseSpace, id)
	if err != nil {
		return nil, orMissing(err, "Response", id)
	}
	r, err := decodeRecord(plain, whole)
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
	return t.strikeOff(ctx, isResponse, id)
}

// removeResponse removes the record first, and then what is found only through it.
func (t Tenant) removeResponse(ctx context.Context, id string) error {
	plain, _, err := t.get(ctx, responseSpace, id)
	if err != nil && !errors.Is(err, ErrUnreadable) {
		return err
	}
	r := &record{meta: meta{EchoApart: true, Background: true}} // what cannot be read may be anything
	if err == nil {
		if known, err := decodeRecord(plain, false); err == nil {
			r = known
		}
	}
	if err := t.delete(ctx, responseSpace, id); err != nil {
		return err
	}
	if r.EchoApart {
		if err := gone(t.delete(ctx, echoSpace, id)); err != nil {
			return err
		}
	}
	if r.Background {
		if err := t.endLease(ctx, id); err != nil {
			return err
		}
		if err := t.removeEvents(ctx, id); err != nil {
			return err
		}
	}
	return t.unpoint(ctx, r.items, place{Response: id})
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
