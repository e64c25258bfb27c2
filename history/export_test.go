package history

import (
	"context"
	"time"

	"github.com/labiium/chat2response/store"
)

// Hasten shortens the times of background responses.
func (h *History) Hasten(lease, poll, flush, keepEvents time.Duration) {
	h.lease, h.poll, h.flush, h.keepEvents = lease, poll, flush, keepEvents
}

// Spaces of a tenant, and the ledger's.
func (t Tenant) Space(kind string) string { return t.space(kind) }
func (t Tenant) LedgerSpace() string      { return t.space(ledgerSpace) }

// Account is what this process believes the tenant has. What moves from the reserved to the written at this moment is
// counted once: makers of room may count it twice, to be safe, but no cap is passed by that.
func (t Tenant) Account() (records, bytes int64) {
	u := t.h.usageOf(t.name)
	u.gate.Lock()
	defer u.gate.Unlock()
	return u.records.Load() + u.pendingRecords.Load(), u.bytes.Load() + u.pendingBytes.Load()
}

// Audit counts the ledger and what it stands for: entries with a record, their bytes, entries without one.
func (t Tenant) Audit(ctx context.Context) (records, bytes, orphans int64, err error) {
	err = t.ledger(ctx, store.MaxPage, func(e store.Entry) (bool, error) {
		kind := map[byte]string{isResponse: responseSpace, isConversation: conversationSpace, isChat: chatSpace}[e.ID[0]]
		_, err := t.h.store.Get(ctx, t.space(kind), e.ID[2:])
		if gone(t.h.failed(err)) != nil {
			return false, err
		}
		if err != nil {
			orphans++
			return true, nil
		}
		size, _ := parseValue(e.Value)
		records++
		bytes += size
		return true, nil
	})
	return records, bytes, orphans, err
}

// Die ends a job as if its process had been killed.
func (j *Job) Die() {
	j.state.Lock()
	j.ended = true
	j.state.Unlock()
	j.leave()
}

// ExpireLease ends a lease as its time does: nobody is told.
func (t Tenant) ExpireLease(ctx context.Context, id string) error {
	return t.delete(ctx, leaseSpace, id)
}

// Kinds are the spaces that hold one value for each id.
var Kinds = map[string]string{
	"responses": responseSpace, "echoes": echoSpace, "items": itemSpace, "conversations": conversationSpace,
	"leases": leaseSpace, "chats": chatSpace, "chat bodies": chatBodySpace, "ledger": ledgerSpace,
}
