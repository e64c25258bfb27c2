package chat2response

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/labiium/chat2response/history"
)

var stateErrorsTotal = prometheus.NewCounter(prometheus.CounterOpts{
	Namespace: "caddy", Subsystem: "chat2response", Name: "state_write_errors_total",
	Help: "Answers that were to be stored and could not be.",
})

// stateTotals are the counts of all histories of this process. Those of closed ones
// stay in them.
var stateTotals totals

type totals struct {
	mu     sync.Mutex
	open   map[*history.History]bool
	closed history.Stats
}

func (t *totals) add(h *history.History) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = map[*history.History]bool{}
	}
	t.open[h] = true
}

func (t *totals) remove(h *history.History) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, h)
	t.closed = sum(t.closed, h.Stats())
}

func (t *totals) now() history.Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.closed
	for h := range t.open {
		all = sum(all, h.Stats())
	}
	return all
}

// stateCounts are the metrics of the history: names, and where their values are.
var stateCounts = []struct {
	desc  *prometheus.Desc
	value func(*history.Stats) *int64
}{
	{stateDesc("saved_total", "Responses, conversation turns and chat completions that were stored."), func(s *history.Stats) *int64 { return &s.Saved }},
	{stateDesc("saved_bytes_total", "Their JSON in bytes."), func(s *history.Stats) *int64 { return &s.SavedBytes }},
	{stateDesc("chains_total", "Chains of responses that were rebuilt for a next turn."), func(s *history.Stats) *int64 { return &s.Chains }},
	{stateDesc("conversations_total", "Conversations that were read for a next turn."), func(s *history.Stats) *int64 { return &s.Threads }},
	{stateDesc("not_found_total", "Chains and conversations that were asked for and are not there."), func(s *history.Stats) *int64 { return &s.NotFound }},
	{stateDesc("conflicts_total", "Turns that lost a race for their conversation."), func(s *history.Stats) *int64 { return &s.Conflicts }},
	{stateDesc("evicted_total", "Records that gave way to their owner's newer ones."), func(s *history.Stats) *int64 { return &s.Evicted }},
	{stateDesc("orphaned_total", "Background responses whose gateway went away."), func(s *history.Stats) *int64 { return &s.Orphaned }},
	{stateDesc("unavailable_total", "Operations that the store did not serve."), func(s *history.Stats) *int64 { return &s.Unavailable }},
	{stateDesc("not_durable_total", "Writes that too few replicas confirmed."), func(s *history.Stats) *int64 { return &s.NotDurable }},
	{stateDesc("unreadable_total", "Values that could not be decrypted or read."), func(s *history.Stats) *int64 { return &s.Unreadable }},
}

func stateDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("caddy_chat2response_state_"+name, help, nil, nil)
}

func sum(a, b history.Stats) history.Stats {
	for _, c := range stateCounts {
		*c.value(&a) += *c.value(&b)
	}
	return a
}

// Describe and Collect make totals a collector.
func (t *totals) Describe(to chan<- *prometheus.Desc) {
	for _, c := range stateCounts {
		to <- c.desc
	}
}

func (t *totals) Collect(to chan<- prometheus.Metric) {
	now := t.now()
	for _, c := range stateCounts {
		to <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(*c.value(&now)))
	}
}
