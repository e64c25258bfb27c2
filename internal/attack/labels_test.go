//go:build attack && linux

package attack

import (
	"fmt"
	"strings"
	"testing"
)

const (
	mostSeries  = 2000    // of the gateway's own collectors
	mostMetrics = 2 << 20 // bytes of /metrics
)

// H1: what members, models, tools and paths are called makes a bounded number of series, whoever sends them.
func TestLabels(t *testing.T) {
	g := begin(t, managed)
	key := g.mint(`{}`)
	r := random(t)
	words := strings.Fields("id name type role content model input output text tools function status index url detail user")
	// 100,000 names that are made of words that the API knows, with dots between them.
	n := 0
	for range 10 {
		var b strings.Builder
		b.WriteString(`{"model":"m","messages":[{"role":"user","content":"x"`)
		for range 10_000 {
			n++
			rest, name := n, ""
			for range 5 {
				name += words[rest%len(words)] + "."
				rest /= len(words)
			}
			fmt.Fprintf(&b, `,%q:1`, name+words[r.IntN(len(words))])
		}
		b.WriteString(`}]}`)
		_, _ = g.ask("POST", "/convert", b.String())
		_, _ = g.ask("POST", "/v1/chat/completions", b.String(), bearer(key)...)
		g.alive()
	}
	// The other words that a stranger chooses.
	for i := range 300 {
		odd := fmt.Sprintf("odd-%d-%x", i, r.Uint64())
		_, _ = g.ask("POST", "/convert", fmt.Sprintf(`{"model":%q,"input":[{"type":%[1]q,"role":%[1]q,"content":[{"type":%[1]q}]}],"tools":[{"type":%[1]q,%[1]q:1}],"include":[%[1]q],%[1]q:1}`, odd))
		_, _ = g.ask("GET", "/v1/"+odd, "", bearer(key)...)
		_, _ = g.ask("POST", "/v1/responses", fmt.Sprintf(`{"model":%q,"input":"x",%[1]q:{%[1]q:1}}`, odd), bearer(key)...)
		if i%10 == 0 {
			_ = g.raw(strings.ToUpper(strings.ReplaceAll(odd, "-", "")) + " /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		}
	}
	series, size := g.metrics()
	if len(series) > mostSeries || size > mostMetrics {
		t.Errorf("%d series, %d bytes of metrics", len(series), size)
	}
	for _, s := range series {
		if strings.Contains(s, "odd-") || strings.Contains(s, "ODD") {
			t.Errorf("a stranger's word is a label: %s", s)
			break
		}
	}
}
