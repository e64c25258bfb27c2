//go:build unix

package main

import (
	"fmt"
	"sync"
	"time"
)

// keySites are gateways for numbers of keys, each with a file of its own. What the disk costs is not measured.
func keySites(numbers ...int) []site {
	var out []site
	for _, n := range numbers {
		out = append(out, site{keySite(n), fmt.Sprintf("chat2response UPSTREAM {\n\tmode chat\n\tstate off\n\tkeys bbolt DIR/keys-%d.db {\n"+
			"\t\tinsecure_admin\n\t\tstore {\n\t\t\tsync never\n\t\t}\n\t}\n}", n)})
	}
	return out
}

func keySite(n int) string { return fmt.Sprintf("keys-%d", n) }

var listKeysRow = &growth{name: "GET /keys (bbolt)", n: 500, times: 5, held: heldLinear, sites: keySites(1, 500, 1000, 2000),
	prepare: func(g *grower, n int) (act, error) {
		if _, err := g.mint(keySite(n), n); err != nil {
			return nil, err
		}
		return g.again(exchange{site: keySite(n), method: "GET", path: "/keys"}, n, "", `"created_at"`)
	}}

var useKeyRow = &growth{name: "use of a key, of so many (bbolt)", n: 2000, times: 200, held: heldFlat, sites: keySites(2000, 4000, 8000),
	prepare: func(g *grower, n int) (act, error) {
		tokens, err := g.mint(keySite(n), n)
		if err != nil {
			return nil, err
		}
		used := 0
		return func() error { // another key each time, and again only when all have been used
			used++
			_, err := g.ask(exchange{site: keySite(n), path: paths[chat], key: tokens[used%n],
				body: `{"model":"bench","messages":[{"role":"user","content":"x"}]}`})
			return err
		}, nil
	}}

// mint makes keys, and returns their tokens.
func (g *grower) mint(site string, n int) ([]string, error) {
	const minters = 8
	var all sync.WaitGroup
	tokens, failed := make([]string, n), make([]error, minters)
	for m := range minters {
		all.Go(func() {
			c, err := dial(g.b.addrs[site], time.Now().Add(growthTimeout))
			if err != nil {
				failed[m] = err
				return
			}
			defer c.conn.Close()
			for i := m; i < n; i += minters {
				made, err := g.objectBy(c, exchange{site: site, path: "/keys/generate", body: "{}"})
				if err != nil {
					failed[m] = err
					return
				}
				tokens[i] = made.Token
			}
		})
	}
	all.Wait()
	for _, err := range failed {
		if err != nil {
			return nil, err
		}
	}
	return tokens, nil
}
