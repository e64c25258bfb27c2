//go:build unix

package main

import (
	"fmt"
	"slices"
)

// target is a figure that rows must reach: the median over the rounds counts.
type target struct {
	scenario string
	metric   string
	kinds    []kind
	of       comparison // "": the figure itself
	atLeast  bool       // else at most
	value    float64
	text     string // × and + are against the scenario's baseline
}

var (
	translated = []kind{translate}
	rewritten  = []kind{translate, alias, tools}
	untouched  = []kind{express}
	onDisk     = []kind{durable}
)

// targets are the project's own. The last three are upper bounds from its
// reliability figures (F1 to F3), which the others are well within.
var targets = []target{
	{"json-c8", "requests_per_second", rewritten, ratio, true, 0.90, "≥ ×0.90"},
	{"sse50-c8", "events_per_second", rewritten, ratio, true, 0.97, "≥ ×0.97"},
	{"json-c8", "requests_per_second", untouched, ratio, true, 0.98, "≥ ×0.98"},
	{"sse50-c8", "events_per_second", untouched, ratio, true, 0.98, "≥ ×0.98"},
	{"kept-c64", "requests_per_second", onDisk, ratio, true, 0.60, "≥ ×0.60"},
	{"json-c1", "p50_us", rewritten, difference, false, 30, "≤ +30"},
	{"gap20-c32", "first_p50_us", rewritten, difference, false, 50, "≤ +50"},
	{"sse2000-c8", "cpu_us_per_event", rewritten, difference, false, 0.6, "≤ +0.6"},
	{"sse2000-c8", "allocs_per_event", rewritten, difference, false, 1, "≤ +1"},
	{"idle", "heap_kib_per_stream", translated, difference, false, 16, "≤ +16"},
	{"body10m", "mb_per_second", translated, "", true, 200, "≥ 200"},
	{"body10m", "live_of_body", translated, "", false, 4, "≤ 4"},

	{"idle", "rss_kib_per_stream", translated, "", false, 128, "F1 ≤ 128"},
	{"gap20-c32", "cpu_us_per_event", translated, "", false, 60, "F2 ≤ 60"},
	{"json-c1", "p99_us", translated, difference, false, 5000, "F3 ≤ +5000"},
}

// verdict is a target held against a row.
type verdict struct {
	Metric string  `json:"metric"`
	Target string  `json:"target"`
	Got    float64 `json:"got"`
	Met    bool    `json:"met"`
}

func (v verdict) String() string {
	if v.Met {
		return v.Target + " met"
	}
	return v.Target + " NOT MET"
}

// verdicts are those of the targets that are for a row.
func verdicts(m *measured, figures []figure) []verdict {
	var out []verdict
	for _, t := range targets {
		if t.scenario != m.s.name || !slices.Contains(t.kinds, m.v.kind) {
			continue
		}
		for _, f := range figures {
			if f.Metric != t.metric {
				continue
			}
			got := f.Value.Median
			if t.of != "" {
				if f.Against == nil || f.Compare != t.of {
					panic(fmt.Sprintf("no %s of %s in %s", t.of, t.metric, t.scenario)) // written by programmers
				}
				got = f.Against.Median
			}
			met := got <= t.value
			if t.atLeast {
				met = got >= t.value
			}
			out = append(out, verdict{Metric: t.metric, Target: t.text, Got: got, Met: met})
		}
	}
	return out
}
