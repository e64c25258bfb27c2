//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// rowOf is a row as if its rounds had been measured, each the same cost at n, 2n and 4n.
func rowOf(held bound, costs ...float64) *grown {
	m := &grown{row: &growth{name: "things", n: 100, held: held}}
	for i, c := range costs {
		m.numbers = append(m.numbers, factors[i]*100)
		m.cost = append(m.cost, []float64{c, c, c})
		m.clock = append(m.clock, []float64{c, c, c})
	}
	return m
}

func TestGrowthVerdicts(t *testing.T) {
	saved := func(later float64) *grown {
		m := rowOf(heldLinear, 1, 2, 4)
		m.later = []float64{later, 10_000, 0} // one round that was disturbed
		return m
	}
	for _, test := range []struct {
		name string
		row  *grown
		word string
		want string // of the targets
	}{
		{"linear", rowOf(heldLinear, 1, 2, 4), "linear", "≤ 1.25 met"},
		{"quadratic", rowOf(heldLinear, 1, 4, 16), grows, "≤ 1.25 NOT MET"},
		{"flat, and might be linear", rowOf(heldLinear, 5, 5, 5), "flat", "≤ 1.25 met"},
		{"flat", rowOf(heldFlat, 5, 5, 5), "flat", "≤ 0.30 met"},
		{"linear, and must be flat", rowOf(heldFlat, 1, 2, 4), "linear", "≤ 0.30 NOT MET"},
		{"below what can be measured", rowOf(heldLinear, -1, -0.5, 0), "flat", "≤ 1.25 met"},
		{"memory that stays below", rowOf(heldBelow, 1, 20, 64), "bounded", "≤ 64 MiB met"},
		{"memory that does not", rowOf(heldBelow, 16, 32, 65), grows, "≤ 64 MiB NOT MET"},
		{"in time", saved(500), "linear", "≤ 1.25 met; 500 ms later by the clock, ≤ 500 ms met"},
		{"late", saved(501), "linear", "≤ 1.25 met; 501 ms later by the clock, ≤ 500 ms NOT MET"},
	} {
		got := test.row.report()
		if got.Word != test.word || got.targets() != test.want {
			t.Errorf("%s: %s, %s; want %s, %s", test.name, got.Word, got.targets(), test.word, test.want)
		}
	}
}

// A row that grows is printed as such, and again among the missed targets.
func TestGrowthReport(t *testing.T) {
	r := growthReport{Rows: []grownTable{rowOf(heldLinear, 1, 2, 4).report(), rowOf(heldLinear, 0.25, 4, 130).report(), rowOf(heldBelow, 1, 2, 3).report()}}
	var out bytes.Buffer
	r.print(&out)
	for _, want := range []string{
		"things 100 200 400 1.0 2.0 4.0 ms 1.00 linear ≤ 1.25 met",
		"things 100 200 400 0.25 4.0 130 ms 4.51 GROWS ≤ 1.25 NOT MET",
		"things 100 200 400 1.0 2.0 3.0 MiB – bounded ≤ 64 MiB met",
		"2 of 3 targets met in 0s. Not met: things, exponent: 4.511, target ≤ 1.25 (GROWS)",
	} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

// The rows can be told apart, by -only and by their profiles' names, and each site that a row names is one of its own.
func TestGrowthRows(t *testing.T) {
	names := map[string]bool{}
	for _, row := range growths {
		if names[fileName(row.name)] {
			t.Errorf("there are two rows %q", row.name)
		}
		names[fileName(row.name)] = true
		if row.n <= 0 || row.prepare == nil || row.held == "" || row.memory != (row.held == heldBelow) {
			t.Errorf("%s: %+v", row.name, row)
		}
		sites := map[string]bool{}
		for _, s := range row.sites {
			if sites[s.Name] {
				t.Errorf("%s has two sites %q", row.name, s.Name)
			}
			sites[s.Name] = true
		}
		if len(row.sites) == 0 && row.via == "" {
			t.Errorf("%s has no site, and does not say what is measured", row.name)
		}
	}
}

// What the schema rows measure is that a tool with the schema is offered; without one it is no figure.
func TestListTools(t *testing.T) {
	s, err := newToolServer()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.offer("/one", `{"name":"t","inputSchema":{"anyOf":[{"properties":{"a":{}}}]}}`)
	s.offer("/none", "")
	s.offer("/large", `{"name":"t","inputSchema":{"description":"`+strings.Repeat("x", 256<<10)+`"}}`) // which mcpbridge leaves out
	for path, want := range map[string]string{"/one": "", "/none": "0 tools", "/large": "0 tools", "/tools-256": "256 tools"} {
		err := listTools(s.url() + path)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

// An answer that is told of in pieces reaches a client as it was written.
func TestGrowthStream(t *testing.T) {
	u, err := newUpstream()
	if err != nil {
		t.Fatal(err)
	}
	defer u.ln.Close()
	g := &grower{b: &bench{addrs: map[string]string{"up": u.ln.Addr().String()}}, up: u, clients: map[string]*client{}}
	events := copies(2000, chatEvent(`{"content":"#"}`, "null"))
	mark := g.stream(chat, events)
	got, err := g.ask(exchange{site: "up", path: paths[chat], mark: mark, body: "{}"})
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Join(events, ""); string(got) != want {
		t.Errorf("%d bytes, not the %d that were written", len(got), len(want))
	}
	g.clients["up"].conn.Close()
	if _, err := g.again(exchange{site: "gone", path: "/"}, 1, "", ""); err == nil {
		t.Error("a site that is not there answers")
	}
}

func TestCopies(t *testing.T) {
	if got, want := times(2, "a#b#"), "a0b0,a1b1"; got != want {
		t.Errorf("times = %s, want %s", got, want)
	}
	if got, want := strings.Join(copies(2, "x#", "y"), " "), "x0 y x1 y"; got != want {
		t.Errorf("copies = %s, want %s", got, want)
	}
}
