package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/labiium/chat2response/convert/responses"
)

// Chain is what a response and its ancestors have said. It is given to one [Turn] and then used up.
type Chain struct {
	// Items are all input and output items, oldest first, each once. Their instructions are not among them:
	// a response does not inherit its predecessor's
	// (https://platform.openai.com/docs/api-reference/responses/create#responses_create-instructions).
	Items []responses.Item

	id     string
	ledger []string // its entries in the ledger
	head   meta
	check  meta  // of the nearest at or above the head whose depth is a multiple of stride
	total  int64 // as it was stored
	until  int64 // when the first of the chain is removed
}

// Chain returns what previous_response_id id stands for. Reading it keeps the response and its ancestors for another
// TTL.
//
// If the response or any ancestor is unknown, expired or deleted, or belongs to someone else, it is ErrNotFound, never
// a shorter chain; for the client that is 400 previous_response_not_found. A response that is failed, cancelled, queued
// or in progress is ErrUnfinished; an incomplete one may be continued. A chain beyond MaxChain is ErrTooLarge.
func (t Tenant) Chain(ctx context.Context, id string) (*Chain, error) {
	c, err := t.chain(ctx, id)
	if err != nil {
		if errors.Is(err, ErrNotFound) {
			t.h.miss()
			return nil, missing("Previous response", id)
		}
		return nil, err
	}
	t.h.count.chains.Add(1)
	return c, nil
}

func (h *History) miss() {
	if h != nil {
		h.count.notFound.Add(1)
	}
}

// continuable tells whether a response of this status may have a successor.
func continuable(status string) bool {
	return status == responses.Completed || status == responses.Incomplete
}

func (t Tenant) chain(ctx context.Context, id string) (*Chain, error) {
	head, err := t.find(ctx, id, false)
	if err != nil {
		return nil, err
	}
	if !continuable(head.Status) {
		return nil, fmt.Errorf("Previous response with id '%s' %w: its status is %s.", id, ErrUnfinished, head.Status)
	}
	if head.Total > t.h.c.MaxChain {
		return nil, fmt.Errorf("%w: the chain that ends with response '%s' is %d bytes; %d are possible (max_chain). Begin a new one",
			ErrTooLarge, id, head.Total, t.h.c.MaxChain)
	}
	if err := t.hold(head.Total - head.Own); err != nil { // its own is counted
		return nil, err
	}
	all, err := t.ancestors(ctx, id, head)
	if err != nil {
		return nil, err
	}
	c := &Chain{id: id, head: head.meta, total: head.Total, until: head.Until}
	for i := range all {
		c.ledger = append(c.ledger, ledgerID(isResponse, all[i].id))
		if all[i].Depth%stride == 0 {
			c.check = all[i].meta // the deepest comes last
		}
	}
	past, err := t.items(ctx, all)
	if err != nil {
		return nil, err
	}
	c.Items = past
	if due(head.Until, time.Now(), t.h.c.TTL) {
		t.prolong(ctx, c, head, all)
	}
	return c, nil
}

// link is one response of a chain.
type link struct {
	*record
	id string
}

// ancestors returns the whole chain, root first. It asks for what the head names, then for what those name, and so on.
func (t Tenant) ancestors(ctx context.Context, id string, head *record) ([]link, error) {
	all := make([]link, 0, head.Depth+1)
	all = append(all, link{head, id})
	asked := map[string]bool{id: true}
	ask := func(ids []string, r *record) []string {
		for _, id := range append(slices.Clone(r.Near), r.Far...) {
			if !asked[id] {
				asked[id] = true
				ids = append(ids, id)
			}
		}
		return ids
	}
	t.h.count.chainReads.Add(1)
	for ids := ask(nil, head); len(ids) > 0; {
		t.h.count.chainReads.Add(1)
		values, err := t.getMany(ctx, responseSpace, ids)
		if err != nil {
			return nil, err
		}
		var further []string
		for i, v := range values {
			if v == nil {
				return nil, ErrNotFound
			}
			r, err := t.record(v, false)
			if err != nil {
				return nil, err
			}
			all = append(all, link{r, ids[i]})
			further = ask(further, r)
		}
		ids = further
	}
	slices.SortFunc(all, func(a, b link) int { return a.Depth - b.Depth })
	for i := range all {
		if all[i].Depth != i {
			return nil, fmt.Errorf("%w: the chain of response %s has no ancestor %d", ErrUnreadable, id, i)
		}
	}
	return all, nil
}

// items returns the items of a chain, each once, with what they refer to in place.
func (t Tenant) items(ctx context.Context, all []link) ([]responses.Item, error) {
	lists := make([][]responses.Item, 1, len(all)+1)
	if root := all[0]; root.Conversation != "" {
		// The root was made in a conversation, so that is where it begins, as it was then.
		thread, err := t.thread(ctx, root.Conversation, root.Turns)
		if err != nil {
			return nil, err
		}
		if thread.conv.Incarnation != root.Incarnation {
			return nil, ErrNotFound
		}
		lists[0] = thread.Items
	}
	for i := range all {
		lists = append(lists, all[i].items)
	}
	return t.resolve(ctx, join(lists...))
}

// prolong keeps a chain for another TTL. That it does not succeed is no reason to refuse the chain: it is tried again
// by the next reader.
func (t Tenant) prolong(ctx context.Context, c *Chain, head *record, all []link) {
	until := untilFrom(time.Now(), t.h.c.TTL)
	var ids, keys []string
	for _, l := range all {
		ids = append(ids, l.id)
		keys = append(keys, pointerKeys(l.items, l.Tag)...)
	}
	spaces := []struct {
		kind string
		ids  []string
	}{{ledgerSpace, c.ledger}, {itemSpace, keys}, {echoSpace, ids}, {responseSpace, ids}}
	for _, s := range spaces {
		if err := t.h.failed(t.h.store.Extend(ctx, t.space(s.kind), s.ids, timeOf(until))); err != nil {
			return
		}
	}
	t.keepGrant(ctx, until)
	t.h.count.extended.Add(1)
	c.until = until
	// Write it down, or every reader of this response would do it again.
	plain, err := t.open(responseSpace, c.id, head.raw)
	if err != nil {
		return
	}
	if whole, err := decodeRecord(plain, true); err == nil {
		whole.Until = until
		_ = t.rewrite(ctx, whole, head.raw, until)
	}
}

// rewrite replaces a record whose items have not changed.
func (t Tenant) rewrite(ctx context.Context, r *record, old []byte, until int64) error {
	items, err := encode(r.items)
	if err != nil {
		return err
	}
	plain, err := encodeRecord(r, items)
	if err != nil {
		return err
	}
	r.raw, err = t.put(ctx, responseSpace, r.response.ID, old, plain, r.Created, until)
	return err
}

// continueTo makes m the successor of the chain's head.
func (c *Chain) continueTo(m *meta) {
	m.Depth = c.head.Depth + 1
	m.Near = []string{c.id}
	if c.head.Depth%stride != 0 {
		m.Near = append(m.Near, c.head.Near...)
	}
	if m.Depth%stride == 0 && len(c.check.Near) > 0 {
		// c.check is the one that m.Near ends with; what it ends with is the next.
		m.Far = append(m.Far, c.check.Near[len(c.check.Near)-1])
		m.Far = append(m.Far, c.check.Far...)
		m.Far = m.Far[:min(len(m.Far), stride)]
	}
	m.Total = c.total
	m.Until = min(m.Until, c.until)
}
