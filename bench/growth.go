//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"time"
)

// growth is a row of the table of -growth: one thing, of which there are n, 2n and 4n.
type growth struct {
	name  string
	n     int
	times int    // how often one sample does it; 0 is once
	held  bound  // what it must keep to
	via   string // what is measured, where it is not the whole gateway
	sites []site // of a gateway started for this row alone; UPSTREAM, DIR and MCP are replaced
	// prepare makes ready what there are n of, does once what is to be measured, and checks that all n took part. What
	// it returns does it once more.
	prepare func(g *grower, n int) (act, error)
	memory  bool // it is memory that may not grow: MiB are measured, not CPU
	// without is like prepare, for the same without what the row is about. Where it is there, the clock counts too: how
	// much longer the most things take than without, held to saveLimit.
	without func(g *grower, n int) (act, error)
}

// act does what is measured, once.
type act func() error

// bound is what a row is held to.
type bound string

const (
	heldFlat   bound = "flat"
	heldLinear bound = "linear"
	heldBelow  bound = "bounded" // memory stays below memoryLimit, however many there are
)

// most is the exponent of a bound.
func (b bound) most() float64 {
	if b == heldFlat {
		return flatExponent
	}
	return linearExponent
}

// What rows are held to beside their exponents.
const (
	memoryLimit = 64                     // MiB live, which is max_bodies of the row's site
	saveLimit   = 500 * time.Millisecond // later is the answer whose items are saved, for the most of them
)

// How long -growth takes.
const (
	growthRounds = 4
	growthLeast  = 3 // rounds, when time is short
	growthBudget = 100 * time.Second
	growthLimit  = 3 * time.Minute
	growthTrace  = 2 * time.Second // of a CPU profile
)

// factors are those of n.
var factors = []int{1, 2, 4}

// grower measures one row.
type grower struct {
	b       *bench
	up      *upstream
	mcp     *toolServer
	dir     string
	clients map[string]*client // by site
	counter int                // makes names that were not used before
}

// grown is what was measured of a row. The rounds are by size.
type grown struct {
	row     *growth
	numbers []int
	cost    [][]float64 // CPU ms, or MiB live; the empty round is subtracted
	clock   [][]float64 // ms
	later   []float64   // ms that the most things take more than without, by round; see growth.without
}

func measureGrowth(ctx context.Context, f flags) error {
	var rows []*growth
	for _, row := range growths {
		if f.only.MatchString(row.name) {
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return errors.New("-only matches no row")
	}
	limit := growthLimit
	if f.cpuProfiles != "" {
		limit += time.Duration(len(rows)) * 2 * growthTrace
		if err := os.MkdirAll(f.cpuProfiles, 0o755); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	dir, err := os.MkdirTemp("", "chat2response-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{flags: f, began: time.Now(), placing: place(cores())}
	b.machine = thisMachine(b.placing)
	if b.placing.load >= 0 {
		if err := pin(b.placing.load); err != nil {
			return err
		}
	}
	debug.SetGCPercent(400)
	up, err := newUpstream()
	if err != nil {
		return err
	}
	defer up.ln.Close()
	up.record = true
	mcp, err := newToolServer()
	if err != nil {
		return err
	}
	defer mcp.close()
	r := growthReport{Machine: b.machine}
	for i, row := range rows {
		g := &grower{b: b, up: up, mcp: mcp, dir: filepath.Join(dir, strconv.Itoa(i)), clients: map[string]*client{}}
		got, err := g.measure(ctx, row)
		if err != nil {
			return b.because(ctx, fmt.Errorf("%s: %w", row.name, err))
		}
		r.Rows = append(r.Rows, got.report())
		b.say("%d of %d: %s", i+1, len(rows), row.name)
	}
	r.Seconds = time.Since(b.began).Seconds()
	r.print(os.Stdout)
	if f.json != "" {
		return r.writeJSON(f.json)
	}
	return nil
}

// measure starts a gateway for the row, so that no row pays for what another has left in its memory.
func (g *grower) measure(ctx context.Context, row *growth) (*grown, error) {
	if err := os.MkdirAll(g.dir, 0o755); err != nil {
		return nil, err
	}
	defer os.RemoveAll(g.dir)
	var err error
	if g.b.gateway, err = startChild(ctx, "gateway", g.b.placing.gateway); err != nil {
		return nil, err
	}
	defer g.b.gateway.stop()
	defer func() {
		for _, c := range g.clients {
			c.conn.Close()
		}
	}()
	if len(row.sites) > 0 {
		started, err := g.b.gateway.ask(order{Do: "start", Sites: g.filled(row.sites), Dir: filepath.Join(g.dir, "storage")})
		if err != nil {
			return nil, err
		}
		g.b.addrs = started.Addrs
	}
	got := &grown{row: row, cost: make([][]float64, len(factors)), clock: make([][]float64, len(factors))}
	var acts []act
	for _, f := range factors {
		got.numbers = append(got.numbers, f*row.n)
		do, err := row.prepare(g, f*row.n)
		if err != nil {
			return nil, fmt.Errorf("%d: %w", f*row.n, err)
		}
		acts = append(acts, do)
	}
	// What is held to be linear is measured beyond what one of it costs. Of what is held to be flat only the cost of
	// measuring is subtracted, as the rest is what it is about.
	empty := act(func() error { return nil })
	if row.held == heldLinear {
		if empty, err = row.prepare(g, 1); err != nil {
			return nil, fmt.Errorf("1: %w", err)
		}
	}
	var without act
	if row.without != nil {
		if without, err = row.without(g, got.numbers[len(got.numbers)-1]); err != nil {
			return nil, fmt.Errorf("without: %w", err)
		}
	}
	for round := 0; ; round++ {
		late := time.Since(g.b.began) > growthBudget
		if round >= growthLeast && late || round >= 2*growthRounds ||
			round >= growthRounds && got.met() { // what seems to grow is measured longer
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := g.round(got, acts, empty, without); err != nil {
			return nil, err
		}
	}
	return got, g.trace(row, acts[len(acts)-1])
}

// round measures each size once. without may be nil.
func (g *grower) round(got *grown, acts []act, empty, without act) error {
	sample := g.sample
	if got.row.memory {
		sample = g.live
	}
	least, _, err := sample(got.row, empty)
	if err != nil {
		return err
	}
	for i, do := range acts {
		cost, clock, err := sample(got.row, do)
		if err != nil {
			return fmt.Errorf("%d: %w", got.numbers[i], err)
		}
		got.cost[i] = append(got.cost[i], cost-least)
		got.clock[i] = append(got.clock[i], clock)
	}
	if without == nil {
		return nil
	}
	_, clock, err := sample(got.row, without)
	most := got.clock[len(acts)-1]
	got.later = append(got.later, most[len(most)-1]-clock)
	return err
}

// sample is the CPU that the gateway uses for what do does, and how long that takes, each in ms and for one time.
func (g *grower) sample(row *growth, do act) (cpu, clock float64, err error) {
	before, err := g.b.usage("collect")
	if err != nil {
		return 0, 0, err
	}
	start, times := time.Now(), max(row.times, 1)
	for range times {
		if err := do(); err != nil {
			return 0, 0, err
		}
	}
	took := time.Since(start)
	after, err := g.b.usage("usage")
	return milli(after.CPU-before.CPU) / float64(times), milli(took) / float64(times), err
}

// live is the most MiB that are alive while do does it, beyond what was before.
func (g *grower) live(row *growth, do act) (mib, clock float64, err error) {
	if _, err := g.b.gateway.ask(order{Do: "watch"}); err != nil {
		return 0, 0, err
	}
	start := time.Now()
	err = do()
	took := time.Since(start)
	watched, watchErr := g.b.gateway.ask(order{Do: "watched"})
	return float64(watched.Live) / (1 << 20), milli(took), errors.Join(err, watchErr)
}

func milli(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// trace writes a CPU profile of the row with the most things, if it is asked for.
func (g *grower) trace(row *growth, do act) error {
	if g.b.flags.cpuProfiles == "" {
		return nil
	}
	file, err := filepath.Abs(filepath.Join(g.b.flags.cpuProfiles, fileName(row.name)+".cpu"))
	if err != nil {
		return err
	}
	if _, err := g.b.gateway.ask(order{Do: "profile", File: file}); err != nil {
		return err
	}
	for start := time.Now(); time.Since(start) < growthTrace; {
		if err := do(); err != nil {
			return err
		}
	}
	_, err = g.b.gateway.ask(order{Do: "profiled"})
	return err
}

// fileName makes a file's name of a row's.
func fileName(row string) string {
	b := []byte(row)
	for i, c := range b {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9') {
			b[i] = '-'
		}
	}
	return string(b)
}

// medians are those of the rounds, by size, and at least as much as can be measured at all.
func medians(rounds [][]float64) []float64 {
	const resolution = 0.001 // ms, of getrusage
	out := make([]float64, len(rounds))
	for i, r := range rounds {
		s, _ := spreadOf(r)
		out[i] = max(s.Median, resolution)
	}
	return out
}

// met reports whether the row keeps to what it is held to, but for the clock.
func (m *grown) met() bool {
	if m.row.held == heldBelow {
		return slices.Max(medians(m.cost)) <= memoryLimit
	}
	return exponent(m.numbers, medians(m.cost)) <= m.row.held.most()
}
