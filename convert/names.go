package convert

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// toolKind says as what kind of call a function of the upstream comes back.
type toolKind uint8

const (
	kindFunction   toolKind = iota
	kindCustom              // a custom tool, wrapped as a function with one string
	kindNative              // a custom tool that the upstream understands
	kindToolSearch          // client-side tool_search
	kindLocalShell
	kindShell
	kindApplyPatch
)

// toolRef is the tool of the client behind a name of the upstream.
type toolRef struct {
	kind      toolKind
	namespace string
	name      string
	// plainArgs: the client declared arguments that OpenAI would encrypt, and is
	// told that these are not.
	plainArgs bool
}

// Names maps the function names that an upstream was given to the tools that
// the client declared: tools in namespaces are flattened, and tools that the
// upstream does not know become functions.
type Names struct {
	byFlat map[string]toolRef
}

// tool is the tool behind a name. A name that was not declared is a function.
func (n *Names) tool(name string) toolRef {
	if n != nil {
		if ref, ok := n.byFlat[name]; ok {
			return ref
		}
	}
	return toolRef{name: name}
}

// add enters a tool. It tells whether the tool is new, and whether its name is
// taken by another.
func (n *Names) add(flat string, ref toolRef) (added, clash bool) {
	if n.byFlat == nil {
		n.byFlat = map[string]toolRef{}
	}
	have, ok := n.byFlat[flat]
	if ok {
		return false, have.kind != ref.kind || have.namespace != ref.namespace || have.name != ref.name
	}
	n.byFlat[flat] = ref
	return true, false
}

// upstreamName is the name of a client's tool at a Chat upstream, which takes at
// most 64 characters where the Responses API takes 128. Too long a name keeps its
// beginning and gets a hash.
func upstreamName(namespace, name string) string {
	if namespace != "" {
		return flatName(namespace, name)
	}
	if len(name) <= 64 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return strings.ToValidUTF8(name[:64-9], "") + "_" + hex.EncodeToString(sum[:4])
}

// flatName is a tool's name without a namespace: one of at most 64 characters
// of those that function names may have. Too long a name keeps its beginning and
// gets a hash.
func flatName(namespace, name string) string {
	if namespace == "" {
		return name
	}
	full := namespace + "__" + name
	flat := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		}
		return '_'
	}, full)
	if len(flat) <= 64 {
		return flat
	}
	sum := sha256.Sum256([]byte(full))
	return flat[:64-9] + "_" + hex.EncodeToString(sum[:4])
}
