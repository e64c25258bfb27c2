//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// report is all that a run has found.
type report struct {
	Machine machine     `json:"machine"`
	Quick   bool        `json:"quick"`
	Rounds  int         `json:"rounds"`
	Seconds float64     `json:"seconds"`
	Rows    []rowReport `json:"rows"`
	Notes   []string    `json:"notes,omitempty"`

	rows []*measured
}

type rowReport struct {
	Scenario string    `json:"scenario"`
	Variant  string    `json:"variant"`
	Kind     kind      `json:"kind"`
	Baseline string    `json:"baseline,omitempty"`
	Figures  []figure  `json:"figures"`
	Targets  []verdict `json:"targets,omitempty"`
}

// figure is one metric of a row. Against is what it is of, or more than, the same
// metric of bare reverse_proxy.
type figure struct {
	Metric  string     `json:"metric"`
	Value   spread     `json:"value"`
	Compare comparison `json:"compare,omitempty"`
	Against *spread    `json:"against,omitempty"`
	Rounds  []float64  `json:"rounds"`
}

func (b *bench) report() *report {
	r := &report{
		Machine: b.machine, Quick: b.flags.quick, Rounds: b.done,
		Seconds: math.Round(time.Since(b.began).Seconds()), Notes: b.notes, rows: b.rows,
	}
	for _, m := range b.rows {
		row := rowReport{Scenario: m.s.name, Variant: m.v.name, Kind: m.v.kind}
		var base *measured
		if against := m.s.baseline(m.v); m.v != against {
			row.Baseline = against.name
			base = b.find(m.s, against)
		}
		row.Figures = figures(m, base)
		row.Targets = verdicts(m, row.Figures)
		r.Rows = append(r.Rows, row)
	}
	return r
}

func (b *bench) find(s *scenario, v *variant) *measured {
	for _, m := range b.rows {
		if m.s == s && m.v == v {
			return m
		}
	}
	return nil
}

// figures are those of the columns first, then the others by name.
func figures(m, base *measured) []figure {
	columns := slices.Clone(m.s.metrics)
	for _, name := range slices.Sorted(maps.Keys(m.first())) {
		if !slices.ContainsFunc(columns, func(c metric) bool { return c.name == name }) {
			columns = append(columns, metric{name: name})
		}
	}
	var out []figure
	for _, c := range columns {
		values := m.series(c.name)
		value, ok := spreadOf(values)
		if !ok {
			continue
		}
		f := figure{Metric: c.name, Value: value, Rounds: finite(values)}
		if base != nil && c.compare != "" {
			if s, ok := spreadOf(against(c.compare, values, base.series(c.name))); ok {
				f.Compare, f.Against = c.compare, &s
			}
		}
		out = append(out, f)
	}
	return out
}

// first is the first round that has figures.
func (m *measured) first() sample {
	for _, s := range m.rounds {
		if len(s) > 0 {
			return s
		}
	}
	return nil
}

// series is a metric round by round, NaN where a round has none.
func (m *measured) series(name string) []float64 {
	out := make([]float64, len(m.rounds))
	for i, s := range m.rounds {
		v, ok := s[name]
		if !ok {
			v = math.NaN()
		}
		out[i] = v
	}
	return out
}

func finite(values []float64) []float64 {
	return slices.DeleteFunc(slices.Clone(values), func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
}

func (r *report) writeJSON(file string) error {
	out, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(out, '\n'), 0o644)
}

// letters are the parts of the comparison.
var letters = map[kind]string{direct: "(a)", bare: "(b)", again: "(b)", translate: "(c)", remember: "(c)", stored: "(c)", durable: "(c)", alias: "(c)", tools: "(c)", express: "(c)"}

func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n%d rounds, %.0f s. A figure is the median over the rounds; behind it, it is held against bare reverse_proxy (b)\n"+
		"of the same round, where nothing else is said: ×ratio or +difference, median (min…max). A target is met when the median meets it.\n", r.Machine, r.Rounds, r.Seconds)
	for from := 0; from < len(r.Rows); {
		to := from
		for to < len(r.Rows) && r.Rows[to].Scenario == r.Rows[from].Scenario {
			to++
		}
		r.table(w, from, to)
		from = to
	}
	r.summary(w)
	for _, note := range r.Notes {
		fmt.Fprintln(w, note)
	}
}

// table prints the rows of one scenario.
func (r *report) table(w io.Writer, from, to int) {
	s := r.rows[from].s
	lines := [][]string{{""}}
	for _, c := range s.metrics {
		lines[0] = append(lines[0], c.title)
		if c.compare != "" {
			lines[0] = append(lines[0], "")
		}
	}
	for i := from; i < to; i++ {
		row, v := r.Rows[i], r.rows[i].v
		line := []string{letters[v.kind] + " " + v.title}
		for _, c := range s.metrics {
			line = append(line, cells(row, c)...)
		}
		lines = append(lines, line)
	}
	fmt.Fprintf(w, "\n%s: %s\n", s.name, s.title)
	printAligned(w, lines)
}

// cells are a metric's figure, and, in a second cell, what it is held against and
// the targets for it.
func cells(row rowReport, c metric) []string {
	value, held := "–", ""
	for _, f := range row.Figures {
		if f.Metric != c.name {
			continue
		}
		value = fmt.Sprintf("%.*f", c.decimal, f.Value.Median)
		switch {
		case f.Against == nil || row.Kind == direct:
		case c.compare == ratio:
			held = fmt.Sprintf("×%.2f (%.2f…%.2f)", f.Against.Median, f.Against.Min, f.Against.Max)
		default:
			held = fmt.Sprintf("%+.*f (%+.*f…%+.*f)", c.decimal, f.Against.Median, c.decimal, f.Against.Min, c.decimal, f.Against.Max)
		}
	}
	for _, v := range row.Targets {
		if v.Metric == c.name {
			held = strings.TrimSpace(held + "  " + v.String())
		}
	}
	if c.compare == "" {
		return []string{strings.TrimSpace(value + " " + held)}
	}
	return []string{value, held}
}

// printAligned prints columns: figures to the right, words to the left.
func printAligned(w io.Writer, lines [][]string) {
	var widths []int
	for _, line := range lines {
		for i, cell := range line {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, line := range lines {
		var b strings.Builder
		for i, cell := range line {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			words := i == 0 || lines[0][i] == "" // the title of a held figure is that of the figure
			switch {
			case words && n > 0:
				b.WriteString(" " + cell + pad)
			default:
				b.WriteString("  " + pad + cell)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// summary counts the targets and names those that are missed.
func (r *report) summary(w io.Writer) {
	all, met := 0, 0
	var missed []string
	for _, row := range r.Rows {
		for _, v := range row.Targets {
			all++
			if v.Met {
				met++
				continue
			}
			missed = append(missed, fmt.Sprintf("  %s/%s %s: %.4g, target %s", row.Scenario, row.Variant, v.Metric, v.Got, v.Target))
		}
	}
	fmt.Fprintf(w, "\n%d of %d targets met.\n", met, all)
	if len(missed) > 0 {
		fmt.Fprintf(w, "Not met:\n%s\n", strings.Join(missed, "\n"))
	}
}
