//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// bench is one run.
type bench struct {
	plan    plan
	flags   flags
	began   time.Time
	placing placing
	machine machine

	gateway, upstream *child
	upstreamAddr      string
	addrs             map[string]string // of the gateways, by variant

	rows   []*measured
	expect map[row]expected
	wrong  []string
	notes  []string
	done   int // rounds
}

// row is what an ask costs on a variant.
type row struct {
	v *variant
	a *ask
}

// sample is what one round says of a row: figures by the name of their metric.
type sample map[string]float64

// measured is a row of the table as it fills.
type measured struct {
	s      *scenario
	v      *variant
	wanted bool // -only matches it; else it is only a baseline
	rounds []sample
}

func (m *measured) id() string { return m.s.name + "/" + m.v.name }

// choose takes the rows that are wanted, and those that they are held against.
func (b *bench) choose() {
	for _, s := range scenarios {
		needed := map[*variant]bool{}
		wanted := map[*variant]bool{}
		for _, v := range variants {
			if s.has(v) && b.flags.only.MatchString(s.name+"/"+v.name) {
				wanted[v], needed[v] = true, true
				needed[s.baseline(v)] = true
			}
		}
		for _, v := range variants {
			if needed[v] {
				b.rows = append(b.rows, &measured{s: s, v: v, wanted: wanted[v]})
			}
		}
	}
}

func (b *bench) addr(v *variant) string {
	if v.kind == direct {
		return b.upstreamAddr
	}
	return b.addrs[v.name]
}

// usage is the gateway's, after what do asks of it.
func (b *bench) usage(do string) (usage, error) {
	r, err := b.gateway.ask(order{Do: do})
	return r.Usage, err
}

// checkAll asks each row once and reads the answer in full. Wrong answers are not
// measured.
func (b *bench) checkAll() error {
	if _, err := b.upstream.ask(order{Do: "record"}); err != nil {
		return err
	}
	var bad []string
	for _, m := range b.rows {
		if m.s.ask.hold {
			continue // has no end to check; its rows are checked as they open
		}
		want, err := b.check(m.v, m.s.ask)
		if err != nil {
			bad = append(bad, m.id()+": "+err.Error())
			continue
		}
		b.expect[row{m.v, m.s.ask}] = want
	}
	if len(bad) > 0 {
		return fmt.Errorf("%d rows answer wrong, so nothing is measured:\n%s", len(bad), strings.Join(bad, "\n"))
	}
	_, err := b.upstream.ask(order{Do: "forget"})
	b.say("the answers of %d rows are right", len(b.rows))
	return err
}

// say tells on standard error how far the run is.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%5.1f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

var errWrong = errors.New("wrong answers")

func (b *bench) addWrong(v *variant, a *ask, wrong []string) {
	b.wrong = append(b.wrong, fmt.Sprintf("%s/%s: %d: %s", a.name, v.name, len(wrong), wrong[0]))
}

// rounds measures all rows, round by round. In each the variants stand next to
// each other, and begin with another one.
func (b *bench) rounds(ctx context.Context) error {
	var last time.Duration
	for round := range b.plan.rounds {
		if round > 0 && time.Since(b.began)+last > b.plan.budget {
			break
		}
		start := time.Now()
		for from := 0; from < len(b.rows); {
			to := from
			for to < len(b.rows) && b.rows[to].s == b.rows[from].s {
				to++
			}
			if err := b.oneRound(ctx, round, b.rows[from:to]); err != nil {
				return err
			}
			from = to
		}
		last = time.Since(start)
		b.done = round + 1
		b.say("round %d of %d", b.done, b.plan.rounds)
	}
	if len(b.wrong) > 0 {
		return fmt.Errorf("answers went wrong under load, so there is no table:\n%s", strings.Join(b.wrong, "\n"))
	}
	return nil
}

func (b *bench) oneRound(ctx context.Context, round int, rows []*measured) error {
	if round >= rows[0].s.rounds(b.plan) {
		return nil
	}
	for i := range rows {
		m := rows[(i+round)%len(rows)]
		if err := ctx.Err(); err != nil {
			return err
		}
		var got sample
		err := b.withProcs(m.s, func() (err error) {
			got, err = m.s.measure(b, m)
			return err
		})
		if errors.Is(err, errWrong) {
			got, err = sample{}, nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", m.id(), err)
		}
		m.rounds = append(m.rounds, got)
	}
	return nil
}

// withProcs does something with the gateway's GOMAXPROCS as a scenario has it.
func (b *bench) withProcs(s *scenario, do func() error) error {
	if s.procs == 0 {
		return do()
	}
	if _, err := b.gateway.ask(order{Do: "procs", Procs: s.procs}); err != nil {
		return err
	}
	err := do()
	_, resetErr := b.gateway.ask(order{Do: "procs", Procs: 1})
	return errors.Join(err, resetErr)
}
