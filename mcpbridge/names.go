package mcpbridge

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

const maxName = 64 // the longest name of a function that a model's API takes

// clean replaces what a function's name must not have. It is one byte for one rune, so different names can become equal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		}
		return '_'
	}, s)
}

// exposed gives every tool of one server its name for the model: server_tool, cleaned. servers are the names of all
// servers configured, running or not; tools are the server's own names.
//
// A name depends on the configuration and on the server's own list, never on which other servers happen to run: a list
// of tools that changes between requests defeats the prompt caches of the models, and a name that moves from one
// server's tool to another's is a wrong call. So where "a" and "a_b" are servers, a_b_… belongs to the second whether
// or not it runs, and tool "b_c" of the first has a hash in its name; so has what is too long, and the second of two
// tools that cleaning has made equal.
func exposed(server string, servers, tools []string) map[string]string {
	names := make(map[string]string, len(tools))
	taken := make(map[string]bool, len(tools))
	sorted := slices.Clone(tools)
	slices.SortFunc(sorted, func(a, b string) int {
		// A tool whose name needed no cleaning has the first right to it.
		return cmp.Or(cmp.Compare(changed(a), changed(b)), cmp.Compare(a, b))
	})
	for _, tool := range slices.Compact(sorted) {
		name := clean(server) + "_" + clean(tool)
		if len(name) > maxName || taken[name] || owner(name, servers) != server {
			name = hashed(name, server, tool)
		}
		names[tool] = name
		taken[name] = true
	}
	return names
}

func changed(s string) int {
	if clean(s) != s {
		return 1
	}
	return 0
}

// owner is the server to whose tools a name belongs: the one with the longest prefix of it, and among equal ones the
// first.
func owner(name string, servers []string) string {
	best, length := "", -1
	for _, s := range servers {
		p := clean(s) + "_"
		if !strings.HasPrefix(name, p) || len(p) < length {
			continue
		}
		if len(p) > length || changed(s) < changed(best) || changed(s) == changed(best) && s < best {
			best, length = s, len(p)
		}
	}
	return best
}

// hashed shortens a name to 64 bytes, the last eight of which tell it from all others.
func hashed(name, server, tool string) string {
	sum := sha256.Sum256([]byte(server + "\x00" + tool))
	return fmt.Sprintf("%s_%s", name[:min(len(name), maxName-9)], hex.EncodeToString(sum[:4]))
}

// Name is what models call a tool of a server that nothing else is known of: the name that it has, or had, unless that
// of another server was in its way.
func Name(server, tool string) string {
	return exposed(server, []string{server}, []string{tool})[tool]
}
