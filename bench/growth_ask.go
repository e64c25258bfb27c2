//go:build unix

package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// growthTimeout bounds each request of -growth: what grows as n² takes its time.
const growthTimeout = 60 * time.Second

// filled are sites with what is only known now.
func (g *grower) filled(sites []site) []site {
	replace := strings.NewReplacer("UPSTREAM", g.up.ln.Addr().String(), "DIR", g.dir, "MCP", g.mcp.url())
	out := make([]site, len(sites))
	for i, s := range sites {
		out[i] = site{s.Name, replace.Replace(s.Directives)}
	}
	return out
}

// exchange is one request to a site of the gateway.
type exchange struct {
	site, method, path string
	mark               string // of the answer that the upstream gives; "" is a short one
	key                string
	body               string
	status             int // that the answer must have; 0 is 200, -1 is any
}

// ask sends a request and reads the answer's body, which is valid until the next.
func (g *grower) ask(x exchange) ([]byte, error) {
	c, err := g.client(x.site)
	if err != nil {
		return nil, err
	}
	return g.askBy(c, x)
}

// client is the connection to a site.
func (g *grower) client(site string) (*client, error) {
	c := g.clients[site]
	if c == nil {
		var err error
		if c, err = dial(g.b.addrs[site], time.Now().Add(growthTimeout)); err != nil {
			return nil, err
		}
		g.clients[site] = c
	}
	c.conn.SetDeadline(time.Now().Add(growthTimeout))
	return c, nil
}

func (g *grower) askBy(c *client, x exchange) ([]byte, error) {
	if x.method == "" {
		x.method = "POST"
	}
	if x.mark == "" {
		x.mark = "json"
	}
	if x.key == "" {
		x.key = "growth"
	}
	if x.status == 0 {
		x.status = 200
	}
	request := fmt.Appendf(make([]byte, 0, len(x.body)+512), "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\nAuthorization: Bearer %s\r\nX-Client-Request-Id: %s\r\n\r\n%s",
		x.method, x.path, g.b.addrs[x.site], len(x.body), x.key, x.mark, x.body)
	got := newAnswer()
	got.keep = true
	if err := c.do(request, got); err != nil {
		return nil, err
	}
	if x.status > 0 && got.status != x.status {
		return nil, fmt.Errorf("%s %s: status %d: %.500s", x.method, x.path, got.status, got.body)
	}
	return got.body, nil
}

// again asks once, checks that what there are n of is there, and returns what asks again. Of sent each must have
// reached the upstream, of got each must be in the answer; "" is not looked for.
func (g *grower) again(x exchange, n int, sent, got string) (act, error) {
	answer, err := g.ask(x)
	if err != nil {
		return nil, err
	}
	if have := bytes.Count(answer, []byte(got)); got != "" && have < n {
		return nil, fmt.Errorf("there are %d of %d %s in the answer: %.300s", have, n, got, answer)
	}
	if have := bytes.Count(g.reached(), []byte(sent)); sent != "" && have < n {
		return nil, fmt.Errorf("%d of %d %s have reached the upstream: %.300s", have, n, sent, g.reached())
	}
	return func() error {
		_, err := g.ask(x)
		return err
	}, nil
}

// reached is the body of the last request that has reached the upstream.
func (g *grower) reached() []byte {
	g.up.mu.Lock()
	defer g.up.mu.Unlock()
	return g.up.body
}

// stream has the upstream answer with these events, and is the mark of the answer.
func (g *grower) stream(of api, events []string) string {
	g.counter++
	mark := "growth-" + strconv.Itoa(g.counter)
	const perWrite = 32 << 10
	writes := [][]byte{[]byte(streamHead)}
	var some []byte
	for i, e := range events {
		some = append(some, e...)
		if len(some) >= perWrite || i == len(events)-1 {
			writes = append(writes, appendChunk(nil, some))
			some = some[:0]
		}
	}
	g.up.say(paths[of], mark, append(writes, []byte(lastChunk))...)
	return mark
}

// times joins n copies of a pattern by commas, each with its number where it has a #.
func times(n int, pattern string) string { return strings.Join(copies(n, pattern), ",") }

// copies are n of each of the patterns, in turn.
func copies(n int, patterns ...string) []string {
	out := make([]string, 0, n*len(patterns))
	for i := range n {
		for _, p := range patterns {
			out = append(out, strings.ReplaceAll(p, "#", strconv.Itoa(i)))
		}
	}
	return out
}
