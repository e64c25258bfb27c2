package mcpbridge

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// lenient: servers in the field send invalid UTF-8 and, rarely, a member twice.
var lenient = json.JoinOptions(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))

// noParameters is the schema of a tool that takes nothing, or says nothing.
const noParameters = `{"type":"object","properties":{}}`

type member struct {
	name  string
	value jsontext.Value
}

// object reads an object, order kept; nil if raw is none.
func object(raw jsontext.Value) []member {
	d := jsontext.NewDecoder(strings.NewReader(string(raw)), lenient)
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return nil
	}
	members := []member{}
	for d.PeekKind() == '"' {
		t, err := d.ReadToken()
		if err != nil {
			return nil
		}
		name := t.String()
		v, err := d.ReadValue()
		if err != nil {
			return nil
		}
		members = append(members, member{name, v.Clone()})
	}
	return members
}

func render(members []member) jsontext.Value {
	b := []byte{'{'}
	for i, m := range members {
		if i > 0 {
			b = append(b, ',')
		}
		b, _ = jsontext.AppendQuote(b, m.name)
		b = append(append(b, ':'), m.value...)
	}
	return append(b, '}')
}

// maxSchema is the most bytes of one tool's input schema, before and after [parameters]: what is larger no model has
// the room for. Tools above it are left out before any work is done on them.
const maxSchema = 256 << 10

// maxRefSteps is the most names in a $ref. Generators write two, "#/$defs/Name". Each step may read all that lies
// below, so without a bound one long $ref into a deep schema costs the product of both.
const maxRefSteps = 16

// parameters makes of a tool's input schema one that models' APIs take for a function: an object whose root combines
// nothing. Bytes and order are kept (a list of tools that reads the same every time can be cached by the model), and
// nothing below the root is touched.
//
//   - $schema and $id go: they only say where the schema came from;
//   - a root without a type, or with a list of types, becomes "object";
//   - anyOf, oneOf and allOf at the root become the union of their branches' properties; only what allOf requires
//     stays required;
//   - not, if, then, else, enum and const at the root go: the server checks the arguments anyway;
//   - of members of the root with one name the first counts.
//
// The work is linear in the schema's length, whatever is in it: see [fold].
func parameters(schema jsontext.Value) jsontext.Value {
	return new(fold).parameters(schema)
}

// fold is the work on one schema. Each object in it is read once at most, and merged once at most, however many
// branches and references lead there; with maxRefSteps that bounds the work by the schema's length, since objects at
// one depth do not overlap.
type fold struct {
	steps  int // members read and branches and references followed; for tests
	merged map[*part]bool
}

// part is a value inside a schema. It is read as an object when that is first asked for.
type part struct {
	raw     jsontext.Value
	opened  bool
	members []member         // nil if raw is no object
	first   map[string]*part // of each name
}

// open reads p's members. p may be nil.
func (f *fold) open(p *part) []member {
	if p == nil {
		return nil
	}
	if !p.opened {
		p.opened, p.members = true, object(p.raw)
		p.first = make(map[string]*part, len(p.members))
		for _, m := range p.members {
			if p.first[m.name] == nil {
				p.first[m.name] = &part{raw: m.value}
			}
		}
		f.steps += len(p.members)
	}
	return p.members
}

// at is the value of a member of p, nil if there is none.
func (f *fold) at(p *part, name string) *part {
	if f.open(p) == nil {
		return nil
	}
	return p.first[name]
}

// raw is the value of a member of p as it was sent, nil if there is none.
func (f *fold) raw(p *part, name string) jsontext.Value {
	if v := f.at(p, name); v != nil {
		return v.raw
	}
	return nil
}

func (f *fold) parameters(schema jsontext.Value) jsontext.Value {
	root := &part{raw: schema}
	if len(f.open(root)) == 0 {
		return jsontext.Value(noParameters)
	}
	f.merged = map[*part]bool{}
	properties := union[member]{by: func(m member) string { return m.name }}
	properties.list = slices.Clone(f.open(f.at(root, "properties"))) // as they are, a name that comes twice too
	required := union[string]{by: func(s string) string { return s }, list: list(f.raw(root, "required"))}
	wasRequired := len(required.list)
	combined := false
	for _, m := range root.members {
		if m.name != "anyOf" && m.name != "oneOf" && m.name != "allOf" {
			continue
		}
		combined = true
		var branches []jsontext.Value
		if json.Unmarshal(m.value, &branches, lenient) != nil {
			continue
		}
		for _, b := range branches {
			f.steps++
			branch := f.resolve(root, &part{raw: b})
			if p := f.at(branch, "properties"); p != nil && !f.merged[p] {
				f.merged[p] = true
				for _, m := range f.open(p) {
					properties.add(m)
				}
			}
			if m.name != "allOf" {
				continue
			}
			if r := f.at(branch, "required"); r != nil && !f.merged[r] {
				f.merged[r] = true
				for _, name := range list(r.raw) {
					f.steps++
					required.add(name)
				}
			}
		}
	}

	out := []member{{"type", jsontext.Value(`"object"`)}}
	if f.at(root, "type") != nil {
		out = out[:0]
	}
	seen, requires := make(map[string]bool, len(root.members)), false
	for _, m := range root.members {
		if seen[m.name] {
			continue // each would be replaced by all properties, or by all that is required
		}
		seen[m.name] = true
		switch m.name {
		case "$schema", "$id", "anyOf", "oneOf", "allOf", "not", "if", "then", "else", "enum", "const":
			continue
		case "type":
			m.value = jsontext.Value(`"object"`)
		case "properties":
			if combined || m.value.Kind() != '{' {
				m.value = render(properties.list)
			}
		case "required":
			if m.value.Kind() != '[' {
				continue
			}
			requires = true
			if len(required.list) > wasRequired {
				m.value = quoted(required.list)
			}
		}
		out = append(out, m)
	}
	if !seen["properties"] {
		out = append(out, member{"properties", render(properties.list)})
	}
	if len(required.list) > 0 && !requires {
		out = append(out, member{"required", quoted(required.list)})
	}
	v := render(out)
	// Compact leaves the order, and makes one line of a pretty-printed schema: blanks cost tokens.
	if err := v.Compact(lenient); err != nil {
		return jsontext.Value(noParameters)
	}
	return v
}

// union is a list that add puts nothing into twice.
type union[T any] struct {
	list []T
	by   func(T) string
	has  map[string]bool // made at the first add
}

func (u *union[T]) add(v T) {
	if u.has == nil {
		u.has = make(map[string]bool, len(u.list)+1)
		for _, have := range u.list {
			u.has[u.by(have)] = true
		}
	}
	if name := u.by(v); !u.has[name] {
		u.has[name] = true
		u.list = append(u.list, v)
	}
}

// resolve follows one $ref of the form "#/a/b" inside the same schema.
func (f *fold) resolve(root, branch *part) *part {
	var ref string
	raw := f.raw(branch, "$ref")
	if raw == nil || json.Unmarshal(raw, &ref) != nil || !strings.HasPrefix(ref, "#/") {
		return branch
	}
	if strings.Count(ref, "/") > maxRefSteps {
		return nil
	}
	at := root
	for step := range strings.SplitSeq(ref[2:], "/") {
		f.steps++
		at = f.at(at, unescape.Replace(step))
	}
	return at
}

// unescape undoes what a name in a JSON pointer has escaped (RFC 6901 §4).
var unescape = strings.NewReplacer("~1", "/", "~0", "~")

func list(raw jsontext.Value) []string {
	var s []string
	if json.Unmarshal(raw, &s, lenient) != nil {
		return nil
	}
	return s
}

func quoted(list []string) jsontext.Value {
	b := []byte{'['}
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b, _ = jsontext.AppendQuote(b, s)
	}
	return append(b, ']')
}

// maxDescription is the most text in bytes that a server may put into every prompt with one tool.
const maxDescription = 4 << 10

// described cleans text that a server wants in the model's prompt: characters that a person who reads the list of
// tools does not see, but the model does, go (control characters, the direction overrides U+202A–202E and U+2066–2069,
// the tags U+E0000–E007F, the zero-width ones), and it is cut to 4 KiB.
func described(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r < ' ', r >= 0x7f && r <= 0x9f,
			r >= 0x200b && r <= 0x200f, r >= 0x2060 && r <= 0x2064, r == 0xfeff,
			r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069,
			r >= 0xe0000 && r <= 0xe007f:
			return -1
		}
		return r
	}, s)
	text, _ := cut(s, maxDescription)
	return text
}
