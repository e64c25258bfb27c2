//go:build unix

package main

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Caddy's, which live as long as the process.
		goleak.IgnoreAnyFunction("github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy.init.0.func1"),
	)
}

// A misspelt name in a table would be a target that nothing is held against.
func TestTargetsHaveRows(t *testing.T) {
	for _, target := range targets {
		rows := 0
		for _, s := range scenarios {
			if s.name != target.scenario {
				continue
			}
			for _, c := range s.metrics {
				if c.name != target.metric {
					continue
				}
				if target.of != "" && c.compare != target.of {
					t.Errorf("%s %s is compared as %q, and its target is a %s", target.scenario, target.metric, c.compare, target.of)
				}
				for _, v := range variants {
					for _, k := range target.kinds {
						if s.has(v) && v.kind == k {
							rows++
						}
					}
				}
			}
		}
		if rows == 0 {
			t.Errorf("no row has the target %s %s", target.scenario, target.metric)
		}
	}
}

func TestVerdicts(t *testing.T) {
	var json8 *scenario
	for _, s := range scenarios {
		if s.name == "json-c8" {
			json8 = s
		}
	}
	round := func(rate float64) []sample { return []sample{{"requests_per_second": rate, "cpu_us": 100}} }
	for _, test := range []struct {
		variant string
		rate    float64
		want    string
	}{
		{"chat-to-responses", 900, "≥ ×0.90 met"},
		{"chat-to-responses", 899, "≥ ×0.90 NOT MET"},
		{"chat-express", 979, "≥ ×0.98 NOT MET"},
	} {
		for _, v := range variants {
			if v.name != test.variant {
				continue
			}
			m := &measured{s: json8, v: v, rounds: round(test.rate)}
			base := &measured{s: json8, v: v.baseline(), rounds: round(1000)}
			got := verdicts(m, figures(m, base))
			if len(got) != 1 || got[0].String() != test.want {
				t.Errorf("%s at %v/s: %v, want %s", test.variant, test.rate, got, test.want)
			}
		}
	}
}

func TestPlace(t *testing.T) {
	for _, test := range []struct {
		cores []int
		want  placing
	}{
		{nil, placing{-1, -1, -1}},
		{[]int{3}, placing{-1, -1, -1}},
		{[]int{0, 1}, placing{0, 1, 1}},
		{[]int{2, 4, 6, 8}, placing{2, 4, 6}},
	} {
		if got := place(test.cores); got != test.want {
			t.Errorf("place(%v) = %v, want %v", test.cores, got, test.want)
		}
	}
}
