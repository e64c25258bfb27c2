//go:build unix

package main

import "time"

// plan says how long things are measured.
type plan struct {
	rounds       int
	memoryRounds int           // the first ones, in which memory is measured too: it varies little
	slice        time.Duration // of a row in a round
	paced        time.Duration // the same, of streams with gaps
	bodies       time.Duration // the same, of large bodies
	streams      int           // open at the first plateau; twice as many at the second
	profile      time.Duration // of a row
	budget       time.Duration // no round begins that would end later
	limit        time.Duration // everything is over then
}

var fullPlan = plan{
	rounds: 9, memoryRounds: 3, slice: 300 * time.Millisecond, paced: 400 * time.Millisecond, bodies: 250 * time.Millisecond,
	streams: 1000, profile: 4 * time.Second, budget: 290 * time.Second, limit: 6 * time.Minute,
}

var quickPlan = plan{
	rounds: 3, memoryRounds: 1, slice: 100 * time.Millisecond, paced: 100 * time.Millisecond, bodies: 60 * time.Millisecond,
	streams: 1000, profile: 2 * time.Second, budget: 57 * time.Second, limit: 2 * time.Minute,
}

// metric is a column of a scenario's table.
type metric struct {
	name    string
	title   string // with its unit
	decimal int    // places
	compare comparison
}

// scenario is a table: one ask, put in one way to several variants.
type scenario struct {
	name, title string
	ask         *ask
	connections int // of the load; 0 where it is another's
	kinds       []kind
	metrics     []metric
	idle        bool
	against     string // the variant that the others are held against; "": the bare reverse_proxy of each
	// procs is the gateway's GOMAXPROCS, 0 is 1. With 1, Go notices only after some time that a goroutine waits for the
	// disk, and nobody else works until then: what shares the next wait does not come together. It stays on its core.
	procs   int
	measure func(*bench, *measured) (sample, error)
}

func (s *scenario) rounds(p plan) int {
	if s.idle {
		return p.memoryRounds
	}
	return p.rounds
}

// baseline is the variant that another one is held against.
func (s *scenario) baseline(v *variant) *variant {
	if s.against != "" {
		return variantNamed(s.against)
	}
	return v.baseline()
}

func (s *scenario) has(v *variant) bool {
	for _, k := range s.kinds {
		if k == v.kind {
			return true
		}
	}
	return false
}

var (
	everything  = []kind{direct, bare, again, translate, remember, alias, tools, express}
	gateways    = []kind{bare, again, translate, remember, alias, express}
	proxies     = []kind{bare, translate, alias, express}
	translators = []kind{bare, translate}
	keepers     = []kind{stored, durable}
)

var (
	perSecond = metric{"requests_per_second", "requests/s", 0, ratio}
	cpu       = metric{"cpu_us", "CPU µs", 1, ratio}
	p50       = metric{"p50_us", "p50 µs", 0, difference}
	p99       = metric{"p99_us", "p99 µs", 0, difference}
	firstP50  = metric{"first_p50_us", "1st event p50 µs", 0, difference}
	firstP99  = metric{"first_p99_us", "p99 µs", 0, ""}
	busy      = metric{"gateway_busy_percent", "busy %", 0, ""}
)

var (
	wholeMetrics  = []metric{perSecond, cpu, p50, p99, busy}
	loadedMetrics = []metric{perSecond, cpu, {"allocs", "allocs", 0, difference}, {"allocated_kib", "allocated KiB", 1, difference}, p50, busy}
)

var burstMetrics = []metric{
	{"events_per_second", "events/s", 0, ratio},
	firstP50,
	{"cpu_us_per_event", "CPU µs/event", 2, difference},
	{"allocs_per_event", "allocs/event", 2, difference},
	busy,
}

var steadyMetrics = []metric{
	{"events_per_second", "events/s", 0, ratio},
	{"cpu_us_per_event", "CPU µs/event", 2, difference},
	{"allocs_per_event", "allocs/event", 2, difference},
	busy,
}

var pacedMetrics = []metric{
	firstP50,
	firstP99,
	{"delay_p50_us", "delay of an event p50 µs", 0, difference},
	{"delay_p99_us", "p99 µs", 0, difference},
	{"cpu_us_per_event", "CPU µs/event", 1, difference},
}

var bodyMetrics = []metric{
	{"mb_per_second", "MB/s", 0, ratio},
	{"cpu_us", "CPU µs", 0, ratio},
	{"cpu_mb_per_second", "MB/s of CPU", 0, ""},
	{"allocated_of_body", "allocated ÷ body", 1, ""},
	{"live_of_body", "peak live ÷ body", 1, ""},
}

var idleMetrics = []metric{
	{"heap_kib_per_stream", "heap+stack KiB", 1, difference},
	{"rss_kib_per_stream", "RSS KiB", 1, difference},
	{"rss_mib_total", "RSS MiB, second plateau", 0, difference},
}

// scenarios are in the order in which they are measured and printed.
var scenarios = []*scenario{
	{name: "json-c1", title: "JSON, 1 connection", ask: askNamed("json"), connections: 1, kinds: everything, metrics: wholeMetrics, measure: measureWhole},
	{name: "json-c8", title: "JSON, 8 connections", ask: askNamed("json"), connections: 8, kinds: everything, metrics: loadedMetrics, measure: measureWhole},
	{name: "kept-c64", title: "JSON, 64 connections, answers kept; GOMAXPROCS=2; held against those kept in memory, not (b)",
		ask: askNamed("json"), connections: 64, kinds: keepers, against: "kept-memory", procs: 2, metrics: loadedMetrics, measure: measureKept},
	{name: "sse50-c8", title: "streams of 50 events at once, 8 connections", ask: askNamed("sse50"), connections: 8, kinds: everything, metrics: burstMetrics, measure: measureBurst},
	{name: "sse2000-c8", title: "streams of 2,000 events at once, 32 in a write, 8 connections", ask: askNamed("sse2000"), connections: 8, kinds: gateways, metrics: steadyMetrics, measure: measureBurst},
	{name: "gap20-c32", title: "streams of 20 events, one each 5 ms, 32 connections", ask: askNamed("gap20"), connections: 32, kinds: everything, metrics: pacedMetrics, measure: measurePaced},
	{name: "idle", title: "idle streams, each", ask: askNamed("idle"), kinds: translators, metrics: idleMetrics, idle: true, measure: measureIdle},
	bodyScenario("body1k", "request body of 1 KiB, 1 connection"),
	bodyScenario("body60k", "request body of 60 KiB (a turn of Codex), 1 connection"),
	bodyScenario("body1m", "request body of 1 MiB, 1 connection"),
	bodyScenario("body10m", "request body of 10 MiB, 1 connection"),
}

func bodyScenario(ask, title string) *scenario {
	return &scenario{name: ask, title: title, ask: askNamed(ask), connections: 1, kinds: proxies, metrics: bodyMetrics, measure: measureBody}
}

func measureWhole(b *bench, m *measured) (sample, error) { return measureFor(b, m, b.plan.slice) }

// leastKept is how long answers are kept in a round at least: a disk takes some milliseconds to write, for all
// connections at once.
const leastKept = 300 * time.Millisecond

func measureKept(b *bench, m *measured) (sample, error) {
	return measureFor(b, m, max(b.plan.slice, leastKept))
}

func measureFor(b *bench, m *measured, duration time.Duration) (sample, error) {
	s, err := b.load(m.v, m.s.ask, m.s.connections, duration)
	if err != nil {
		return nil, err
	}
	got := sample{
		"requests_per_second": s.rate(),
		"p50_us":              quantile(s.latencies, 0.5) / 1e3,
		"p99_us":              quantile(s.latencies, 0.99) / 1e3,
	}
	if m.v.kind != direct {
		got["cpu_us"] = s.cpu()
		got["allocs"] = s.mallocs()
		got["allocated_kib"] = s.allocated() / 1024
		got["gateway_busy_percent"] = 100 * s.busy()
	}
	return got, nil
}

func measureBurst(b *bench, m *measured) (sample, error) {
	s, err := b.load(m.v, m.s.ask, m.s.connections, b.plan.slice)
	if err != nil {
		return nil, err
	}
	events := float64(m.s.ask.events)
	got := sample{
		"streams_per_second": s.rate(),
		"events_per_second":  s.rate() * events,
		"first_p50_us":       quantile(s.firsts, 0.5) / 1e3,
		"first_p99_us":       quantile(s.firsts, 0.99) / 1e3,
	}
	if m.v.kind != direct {
		got["cpu_us_per_event"] = s.cpu() / events
		got["allocs_per_event"] = s.mallocs() / events
		got["gateway_busy_percent"] = 100 * s.busy()
	}
	return got, nil
}

func measurePaced(b *bench, m *measured) (sample, error) {
	s, err := b.load(m.v, m.s.ask, m.s.connections, b.plan.paced)
	if err != nil {
		return nil, err
	}
	got := sample{
		"streams_per_second": s.rate(),
		"first_p50_us":       quantile(s.firsts, 0.5) / 1e3,
		"first_p99_us":       quantile(s.firsts, 0.99) / 1e3,
		"delay_p50_us":       quantile(s.delays, 0.5) / 1e3,
		"delay_p99_us":       quantile(s.delays, 0.99) / 1e3,
	}
	if m.v.kind != direct {
		got["cpu_us_per_event"] = s.cpu() / float64(m.s.ask.events)
		got["allocs_per_event"] = s.mallocs() / float64(m.s.ask.events)
	}
	return got, nil
}

// leastWatched is the smallest body whose memory is watched: the gateway's own few
// hundred KiB would be most of it.
const leastWatched = 1 << 20

// measureBody measures speed first, then memory: collecting garbage all the time
// costs time.
func measureBody(b *bench, m *measured) (sample, error) {
	s, err := b.load(m.v, m.s.ask, 1, b.plan.bodies)
	if err != nil {
		return nil, err
	}
	size := float64(len(m.s.ask.requestBody(m.v.client, clientModel)))
	got := sample{
		"mb_per_second":     s.rate() * size / 1e6,
		"cpu_us":            s.cpu(),
		"cpu_mb_per_second": size / s.cpu(),
		"allocated_of_body": s.allocated() / size,
	}
	if m.s.ask.size < leastWatched || len(m.rounds) >= b.plan.memoryRounds {
		return got, nil
	}
	if _, err := b.gateway.ask(order{Do: "watch"}); err != nil {
		return nil, err
	}
	_, err = b.load(m.v, m.s.ask, 1, b.plan.bodies/2)
	live, watchErr := b.gateway.ask(order{Do: "watched"})
	if err != nil {
		return nil, err
	}
	got["live_of_body"] = float64(live.Live) / size
	return got, watchErr
}
