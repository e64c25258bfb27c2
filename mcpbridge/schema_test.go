package mcpbridge

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// hostile are schemas of n parts for which the work of a careless reader grows with the square of n.
var hostile = map[string]func(n int) string{
	"anyOf branches": func(n int) string {
		return `{"anyOf":[` + many(n, `{"properties":{"p%d":{}}}`) + `]}`
	},
	"allOf required": func(n int) string { return `{"allOf":[` + many(n, `{"required":["p%d"]}`) + `]}` },
	"refs to one large part": func(n int) string {
		return `{"anyOf":[` + strings.Repeat(`{"$ref":"#/$defs/B"},`, n) + `{}],"$defs":{"B":{"properties":{` + many(n, `"p%d":{}`) + `}}}}`
	},
	"refs to many parts": func(n int) string {
		return `{"anyOf":[` + many(n, `{"$ref":"#/$defs/B%d"}`) + `],"$defs":{` + many(n, `"B%d":{"properties":{}}`) + `}}`
	},
	"refs ever deeper": func(n int) string {
		n = min(n, 2000)
		return `{"anyOf":[{"$ref":"#` + strings.Repeat("/a", n) + `"}],"a":` + strings.Repeat(`{"a":`, n) + `1` + strings.Repeat(`}`, n) + `}`
	},
	"properties again and again": func(n int) string {
		return `{"anyOf":[{}],"properties":{` + many(n, `"p%d":{}`) + `}` + strings.Repeat(`,"properties":{}`, n) + `}`
	},
	"required again and again": func(n int) string {
		return `{"allOf":[{"required":[` + many(n, `"p%d"`) + `]}]` + strings.Repeat(`,"required":[]`, n) + `}`
	},
}

// many joins n copies of format, each with its number.
func many(n int, format string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(all, ",")
}

// M9: the work on a schema, its allocations and what comes of it grow as its length does. Before, 4,000 references to
// one part of 4,000 properties took five minutes.
func TestParametersLinear(t *testing.T) {
	for name, make := range hostile {
		var before, allocs float64
		for _, n := range []int{500, 1000, 2000} {
			schema := jsontext.Value(make(n))
			f := new(fold)
			got := f.parameters(schema)
			if f.steps > len(schema) {
				t.Errorf("%s: %d steps for %d bytes", name, f.steps, len(schema))
			}
			if len(got) > 2*len(schema)+100 {
				t.Errorf("%s: %d bytes of %d", name, len(got), len(schema))
			}
			if allocs = testing.AllocsPerRun(1, func() { parameters(schema) }); before > 0 && allocs > 2.5*before {
				t.Errorf("%s: %v allocations for n, %v for 2n = %d", name, before, allocs, n)
			}
			before = allocs
		}
	}
}

// M9: a reference is followed as far as those that generators write go, and no farther than that is cheap.
func TestRefSteps(t *testing.T) {
	for n, found := range map[int]bool{1: true, 2: true, maxRefSteps: true, maxRefSteps + 1: false} {
		schema := `{"anyOf":[{"$ref":"#` + strings.Repeat("/a", n) + `"}],"a":` + strings.Repeat(`{"a":`, n-1) +
			`{"properties":{"found":{}}}` + strings.Repeat(`}`, n-1) + `}`
		if got := string(parameters(jsontext.Value(schema))); strings.HasSuffix(got, `"properties":{"found":{}}}`) != found {
			t.Errorf("%d steps: %s", n, got)
		}
	}
	if got := string(parameters(jsontext.Value(`{"anyOf":[{"$ref":"#/x~1y/~01"}],"x/y":{"~1":{"properties":{"b":{}}}}}`))); !strings.HasSuffix(got, `"properties":{"b":{}}}`) {
		t.Errorf("an escaped name: %s", got)
	}
}

func BenchmarkParameters(b *testing.B) {
	for name, make := range hostile {
		for _, n := range []int{1000, 2000, 4000} {
			schema := jsontext.Value(make(n))
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					parameters(schema)
				}
			})
		}
	}
}
