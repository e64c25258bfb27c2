package history

import "sync/atomic"

// Stats are counts since the History was made, of all tenants together.
type Stats struct {
	// Saved and SavedBytes are responses, conversation appends and chat completions that were stored, and their JSON.
	Saved, SavedBytes int64
	// Chains and Threads were rebuilt; ChainReads are the store's reads that the chains took.
	Chains, ChainReads, Threads int64
	// NotFound counts chains and conversations that were asked for and are not there.
	NotFound int64
	// Conflicts are conversation appends that lost against another.
	Conflicts int64
	// Evicted gave way to a tenant's caps. Recounts are readings of a tenant's whole ledger.
	Evicted, Recounts int64
	// Extended are chains and conversations whose expiry was moved.
	Extended int64
	// Orphaned are background responses whose owner went away and that were declared failed.
	Orphaned int64
	// Unavailable are operations that the store did not serve, NotDurable writes that too few replicas confirmed,
	// Unreadable values that did not open.
	Unavailable, NotDurable, Unreadable int64
}

type counters struct {
	saved, savedBytes, chains, chainReads, threads, notFound, conflicts, evicted, recounts,
	extended, orphaned, unavailable, notDurable, unreadable atomic.Int64
}

// Stats returns the counts as they are now.
func (h *History) Stats() Stats {
	c := &h.count
	return Stats{
		Saved: c.saved.Load(), SavedBytes: c.savedBytes.Load(),
		Chains: c.chains.Load(), ChainReads: c.chainReads.Load(), Threads: c.threads.Load(),
		NotFound: c.notFound.Load(), Conflicts: c.conflicts.Load(), Evicted: c.evicted.Load(), Recounts: c.recounts.Load(),
		Extended: c.extended.Load(), Orphaned: c.orphaned.Load(),
		Unavailable: c.unavailable.Load(), NotDurable: c.notDurable.Load(), Unreadable: c.unreadable.Load(),
	}
}

func (c *counters) wrote(bytes int64) {
	c.saved.Add(1)
	c.savedBytes.Add(bytes)
}
