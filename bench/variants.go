//go:build unix

package main

import (
	"fmt"
	"strings"
)

// kind is what stands between client and upstream.
type kind string

const (
	direct    kind = "direct"    // nothing
	bare      kind = "bare"      // Caddy's reverse_proxy
	again     kind = "again"     // another one: what differs is noise
	translate kind = "translate" // chat2response between two APIs
	remember  kind = "remember"  // the same, and what is said is kept
	stored    kind = "stored"    // the same, for the comparison of memory with a disk
	durable   kind = "durable"   // the same, and each answer waits until the disk has it
	alias     kind = "alias"     // chat2response within one, the model renamed
	tools     kind = "tools"     // the same with MCP servers, for requests that want no tool
	express   kind = "express"   // chat2response within one, nothing to do
)

// variant is one way from the client to the upstream.
type variant struct {
	name   string
	title  string
	kind   kind
	client api
	to     api    // what the upstream speaks
	site   string // directives of its Caddy site
}

// aliased gives the client's model another name at the upstream.
const aliased = "chat2response UPSTREAM {\n\tmode MODE\n\talias " + clientModel + " " + upstreamModel + "\n}"

// variants are in the order of the table. What the sites say is what a user would
// write; nothing is tuned.
var variants = []*variant{
	{"direct-chat", "straight to it, Chat", direct, chat, chat, ""},
	{"direct-responses", "straight to it, Responses", direct, responses, responses, ""},
	{"proxy-chat", "reverse_proxy, Chat", bare, chat, chat, "reverse_proxy UPSTREAM"},
	{"proxy-responses", "reverse_proxy, Responses", bare, responses, responses, "reverse_proxy UPSTREAM"},
	{"proxy-chat-again", "reverse_proxy once more, Chat", again, chat, chat, "reverse_proxy UPSTREAM"},
	{"chat-to-responses", "Chat client, Responses upstream", translate, chat, responses, "chat2response UPSTREAM"},
	{"responses-to-chat", "Responses client, Chat upstream", translate, responses, chat, "chat2response UPSTREAM {\n\tmode chat\n\tstate off\n}"},
	{"responses-to-chat-kept", "the same, and kept in memory", remember, responses, chat, "chat2response UPSTREAM {\n\tmode chat\n}"},
	{"kept-memory", "kept in memory", stored, responses, chat, "chat2response UPSTREAM {\n\tmode chat\n\tstate memory\n}"},
	{"kept-bbolt", "kept in bbolt, sync always", durable, responses, chat, "chat2response UPSTREAM {\n\tmode chat\n\tstate bbolt DIR/always.db\n}"},
	{"kept-bbolt-interval", "kept in bbolt, sync interval", stored, responses, chat,
		"chat2response UPSTREAM {\n\tmode chat\n\tstate bbolt DIR/interval.db {\n\t\tstore {\n\t\t\tsync interval\n\t\t}\n\t}\n}"},
	{"chat-alias", "Chat, with an alias", alias, chat, chat, strings.Replace(aliased, "MODE", "chat", 1)},
	{"responses-alias", "Responses, with an alias", alias, responses, responses, strings.Replace(aliased, "MODE", "responses", 1)},
	{"chat-tools", "Chat, MCP configured, no tool wanted", tools, chat, chat, "chat2response UPSTREAM {\n\tmode chat\n\tmcp away http://127.0.0.1:9/mcp\n}"},
	{"chat-express", "Chat, express lane", express, chat, chat, "chat2response UPSTREAM {\n\tmode chat\n}"},
	{"responses-express", "Responses, express lane", express, responses, responses, "chat2response UPSTREAM"},
}

// baseline is the bare reverse_proxy that a variant is held against: the one
// whose upstream sends the same bytes.
func (v *variant) baseline() *variant {
	for _, b := range variants {
		if b.kind == bare && b.to == v.to {
			return b
		}
	}
	panic("no baseline for " + v.name) // written by programmers
}

func variantNamed(name string) *variant {
	for _, v := range variants {
		if v.name == name {
			return v
		}
	}
	panic("no variant " + name) // written by programmers
}

// model is the upstream's name for the model that the client asks for.
func (v *variant) model() string {
	if v.kind == alias {
		return upstreamModel
	}
	return clientModel
}

// more are members of the requests beside those of the ask.
func (v *variant) more() string {
	if v.kind == tools {
		return `,"tool_choice":"none"`
	}
	return ""
}

// site is a gateway on a port of its own.
type site struct {
	Name       string `json:"name"`
	Directives string `json:"directives"`
}

// sitesOf are those of the variants. What one keeps on the disk is in dir.
func sitesOf(upstream, dir string) []site {
	var out []site
	for _, v := range variants {
		if v.kind != direct {
			out = append(out, site{v.name, strings.NewReplacer("UPSTREAM", upstream, "DIR", dir).Replace(v.site)})
		}
	}
	return out
}

// caddyfile is the configuration of all gateways.
func caddyfile(sites []site, dir string, ports map[string]int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "{\n\tadmin off\n\tpersist_config off\n\tauto_https off\n\tstorage file_system %q\n\tlog {\n\t\tlevel ERROR\n\t}\n}\n", dir)
	for _, s := range sites {
		fmt.Fprintf(&b, "http://:%d {\n\tbind 127.0.0.1\n\t%s\n}\n", ports[s.Name], s.Directives)
	}
	return b.String()
}
