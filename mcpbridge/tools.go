package mcpbridge

import (
	"cmp"
	"crypto/sha256"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"
)

// Tool is a tool as a session offers it.
type Tool struct {
	// Name is what the model calls it: at most 64 of A–Z, a–z, 0–9, _ and -, and no other tool's of the session.
	Name string
	// Server is the server's name in the configuration, or the client's label for it.
	Server string
	// Original is the server's own name for the tool.
	Original string
	// Description is the server's text, cleaned of invisible characters and at most 4 KiB. It comes from a third
	// party and goes into the prompt.
	Description string
	// Schema is the tool's input schema as the server sent it.
	Schema jsontext.Value
	// Parameters is Schema in a form that models' APIs take: an object whose root combines nothing.
	Parameters jsontext.Value
	// ReadOnly is the server's own claim (readOnlyHint). It may narrow what is allowed, never widen it.
	ReadOnly bool
	// Approve: somebody must agree to each call ([ServerConfig.Approve]). [Session.Run] does not ask.
	Approve bool
	// Remote: the client has named the server ([Request.Remote]).
	Remote bool
}

// definition is a tool as its server describes it.
type definition struct {
	name, description  string
	schema, parameters jsontext.Value
	readOnly           bool
	pin                [sha256.Size]byte // of all that the model sees
}

// wireTool is an element of tools/list (MCP 2025-11-25, schema, "Tool").
type wireTool struct {
	Name        string         `json:"name"`
	Description jsontext.Value `json:"description"`
	Schema      jsontext.Value `json:"inputSchema"`
	Annotations jsontext.Value `json:"annotations"`
	Execution   jsontext.Value `json:"execution"`
}

func nameOf(raw jsontext.Value) string {
	var t wireTool
	_ = json.Unmarshal(raw, &t, lenient)
	return t.Name
}

// define reads a server's list of tools, sorted by name. Tools that can only run as tasks are left out: they cannot be
// called plainly (MCP 2025-11-25, basic/utilities/tasks, "Tool-Level Negotiation"). Of two with one name the first
// counts. large are the tools left out because what models would get of them is larger than [maxSchema].
func define(list []jsontext.Value) (out []definition, large int) {
	seen := map[string]bool{}
	for _, raw := range list {
		var t wireTool
		if json.Unmarshal(raw, &t, lenient) != nil || t.Name == "" || seen[t.Name] {
			continue
		}
		seen[t.Name] = true
		var claims struct {
			ReadOnly jsontext.Value `json:"readOnlyHint"`
		}
		var execution struct {
			Task jsontext.Value `json:"taskSupport"`
		}
		_ = json.Unmarshal(t.Annotations, &claims, lenient)
		_ = json.Unmarshal(t.Execution, &execution, lenient)
		if string(execution.Task) == `"required"` {
			continue
		}
		if len(t.Schema) > maxSchema || len(t.Name) > maxToolName {
			large++
			continue
		}
		var description string
		_ = json.Unmarshal(t.Description, &description, lenient)
		d := definition{name: t.Name, description: described(description), schema: t.Schema,
			parameters: parameters(t.Schema), readOnly: string(claims.ReadOnly) == "true"}
		if len(d.parameters) > maxSchema {
			large++
			continue
		}
		if d.schema == nil {
			d.schema = jsontext.Value(noParameters)
		}
		d.pin = sha256.Sum256([]byte(d.name + "\x00" + d.description + "\x00" + string(d.schema)))
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b definition) int { return cmp.Compare(a.name, b.name) })
	return out, large
}

// maxPins is how many tools of one server are remembered as what they first were.
const maxPins = 4096

// pinned is a tool as it first was.
type pinned struct {
	sum   [sha256.Size]byte
	first *definition // only where on_change is "keep"
}

// pin compares a list with what each tool first was, and does what the configuration says about those that changed.
// A description is a prompt: a server that was harmless when somebody looked at it may not be any more.
//
// At most maxPins tools are remembered. A server that has had more, because it makes up new ones all the time, is not
// offered further ones where on_change is "keep" or "drop", since nothing could be said of them; where it is "accept",
// those are forgotten that it does not list now.
func (s *Server) pin(list []definition) []definition {
	does := orElse(s.cfg.OnChange, "accept")
	kept := list[:0]
	var changed []string
	unpinned := 0
	for _, d := range list {
		first, known := s.pins[d.name]
		if !known && len(s.pins) >= maxPins {
			if does != "accept" {
				unpinned++
				continue
			}
			s.unpin(list)
		}
		if known && first.sum != d.pin {
			changed = append(changed, d.name)
			switch does {
			case "drop":
				continue
			case "keep":
				kept = append(kept, *first.first)
				continue
			}
		}
		p := pinned{sum: d.pin}
		if does == "keep" {
			p.first = &d
		}
		s.pins[d.name] = p
		kept = append(kept, d)
	}
	for i, name := range changed {
		fields := []zap.Field{zap.String("tool", name), zap.String("on_change", does)}
		if i == changesShown-1 && i+1 < len(changed) {
			s.logger().Warn("MCP tool is not what it was", append(fields, zap.Int("more", len(changed)-i-1))...)
			break
		}
		s.logger().Warn("MCP tool is not what it was", fields...)
	}
	if unpinned > 0 {
		s.logger().Warn("MCP server has had too many different tools; the new ones are not offered",
			zap.Int("tools", unpinned), zap.Int("max", maxPins))
	}
	return kept
}

// changesShown is how many changed tools of one list have a line in the log.
const changesShown = 10

// unpin forgets the tools that are not in list.
func (s *Server) unpin(list []definition) {
	now := make(map[string]bool, len(list))
	for _, d := range list {
		now[d.name] = true
	}
	for name := range s.pins {
		if !now[name] {
			delete(s.pins, name)
		}
	}
}
