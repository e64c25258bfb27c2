//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// growthReport is all that -growth has found.
type growthReport struct {
	Machine machine      `json:"machine"`
	Seconds float64      `json:"seconds"`
	Rows    []grownTable `json:"rows"`
}

// grownTable is a row as it is printed. Cost is in ms of CPU or, of memory, in MiB.
type grownTable struct {
	What     string      `json:"what"`
	Via      string      `json:"via,omitempty"`
	Numbers  []int       `json:"numbers"`
	Cost     []float64   `json:"cost"`
	Unit     string      `json:"unit"`
	Exponent *float64    `json:"exponent"` // null where there is none, which JSON has no number for
	Word     string      `json:"verdict"`
	Targets  []verdict   `json:"targets"`
	Rounds   [][]float64 `json:"rounds"`             // by number
	Clock    [][]float64 `json:"clock_ms"`           // the same
	Later    []float64   `json:"later_ms,omitempty"` // by the clock than without, for the most things
}

func (m *grown) report() grownTable {
	t := grownTable{What: m.row.name, Via: m.row.via, Numbers: m.numbers, Cost: medians(m.cost), Unit: "ms",
		Rounds: m.cost, Clock: m.clock, Later: m.later}
	slope := exponent(t.Numbers, t.Cost)
	t.Word = growthOf(slope)
	held := verdict{Metric: "exponent", Target: fmt.Sprintf("≤ %.2f", m.row.held.most()), Got: slope, Met: m.met()}
	if m.row.held == heldBelow {
		t.Unit, t.Word = "MiB", "bounded"
		held.Metric, held.Target, held.Got = "live_mib", fmt.Sprintf("≤ %d MiB", memoryLimit), slices.Max(t.Cost)
		if !held.Met {
			t.Word = grows
		}
	} else if !math.IsNaN(slope) {
		t.Exponent = &slope
	}
	t.Targets = append(t.Targets, held)
	if later, ok := spreadOf(m.later); ok {
		got := later.Median
		t.Targets = append(t.Targets, verdict{Metric: "later_ms", Target: fmt.Sprintf("≤ %d ms", saveLimit.Milliseconds()),
			Got: got, Met: got <= milli(saveLimit)})
	}
	return t
}

func (r *growthReport) writeJSON(file string) error {
	out, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(out, '\n'), 0o644)
}

func (r *growthReport) print(w io.Writer) {
	fmt.Fprintf(w, "%s; load average %s before\nCPU of the gateway's process, the median of %d rounds or more, less that of one of the thing "+
		"(of rows that must be flat:\nless that of measuring). Exponent: flat up to %.1f, linear up to %.2f.\n\n",
		r.Machine, orUnknown(r.Machine.Load), growthLeast, flatExponent, linearExponent)
	lines := [][]string{{"what", "n, 2n, 4n", "CPU or memory", "exponent", "verdict", ""}}
	for _, row := range r.Rows {
		lines = append(lines, []string{row.What, figuresOf(row.Numbers), costsOf(row), exponentOf(row), row.Word, row.targets()})
	}
	printAligned(w, lines)
	r.summary(w)
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func figuresOf(numbers []int) string {
	var out []string
	for _, n := range numbers {
		if n >= 1000 && n%100 == 0 {
			out = append(out, fmt.Sprintf("%gk", float64(n)/1000))
		} else {
			out = append(out, fmt.Sprint(n))
		}
	}
	return strings.Join(out, " ")
}

// costsOf has three places of each that is small.
func costsOf(row grownTable) string {
	var out []string
	for _, c := range row.Cost {
		places := 0
		if c < 100 {
			places = 1
		}
		if c < 1 {
			places = 2
		}
		out = append(out, fmt.Sprintf("%.*f", places, c))
	}
	return strings.Join(out, " ") + " " + row.Unit
}

func exponentOf(row grownTable) string {
	if row.Exponent == nil {
		return "–"
	}
	return fmt.Sprintf("%.2f", *row.Exponent)
}

// targets are what the row is held to.
func (row grownTable) targets() string {
	var out []string
	for _, v := range row.Targets {
		text := v.String()
		if v.Metric == "later_ms" {
			text = fmt.Sprintf("%.0f ms later by the clock, %s", v.Got, text)
		}
		out = append(out, text)
	}
	if row.Via != "" {
		out = append(out, "("+row.Via+")")
	}
	return strings.Join(out, "; ")
}

func (r *growthReport) summary(w io.Writer) {
	all, met := 0, 0
	var missed []string
	for _, row := range r.Rows {
		for _, v := range row.Targets {
			all++
			if v.Met {
				met++
				continue
			}
			missed = append(missed, fmt.Sprintf("  %s, %s: %.4g, target %s (%s)", row.What, v.Metric, v.Got, v.Target, row.Word))
		}
	}
	fmt.Fprintf(w, "\n%d of %d targets met in %v.\n", met, all, time.Duration(r.Seconds*float64(time.Second)).Round(time.Second))
	if len(missed) > 0 {
		fmt.Fprintf(w, "Not met:\n%s\n", strings.Join(missed, "\n"))
	}
}
