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

func value(members []member, name string) jsontext.Value {
	for _, m := range members {
		if m.name == name {
			return m.value
		}
	}
	return nil
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

// parameters makes of a tool's input schema one that models' APIs take for a function: an object whose root combines
// nothing. Bytes and order are kept (a list of tools that reads the same every time can be cached by the model), and
// nothing below the root is touched.
//
//   - $schema and $id go: they only say where the schema came from;
//   - a root without a type, or with a list of types, becomes "object";
//   - anyOf, oneOf and allOf at the root become the union of their branches' properties; only what allOf requires
//     stays required;
//   - not, if, then, else, enum and const at the root go: the server checks the arguments anyway.
func parameters(schema jsontext.Value) jsontext.Value {
	root := object(schema)
	if len(root) == 0 {
		return jsontext.Value(noParameters)
	}
	properties := object(value(root, "properties"))
	required := list(value(root, "required"))
	wasRequired := len(required)
	combined := false
	for _, m := range root {
		if m.name != "anyOf" && m.name != "oneOf" && m.name != "allOf" {
			continue
		}
		combined = true
		var branches []jsontext.Value
		if json.Unmarshal(m.value, &branches, lenient) != nil {
			continue
		}
		for _, b := range branches {
			branch := resolve(root, object(b))
			for _, p := range object(value(branch, "properties")) {
				if value(properties, p.name) == nil {
					properties = append(properties, p)
				}
			}
			if m.name == "allOf" {
				for _, r := range list(value(branch, "required")) {
					if !slices.Contains(required, r) {
						required = append(required, r)
					}
				}
			}
		}
	}

	out := []member{{"type", jsontext.Value(`"object"`)}}
	typed := value(root, "type") != nil
	if typed {
		out = out[:0]
	}
	seen := false
	for _, m := range root {
		switch m.name {
		case "$schema", "$id", "anyOf", "oneOf", "allOf", "not", "if", "then", "else", "enum", "const":
			continue
		case "type":
			m.value = jsontext.Value(`"object"`)
		case "properties":
			seen = true
			if combined || m.value.Kind() != '{' {
				m.value = render(properties)
			}
		case "required":
			if m.value.Kind() != '[' {
				continue
			}
			if len(required) > wasRequired {
				m.value = quoted(required)
			}
		}
		out = append(out, m)
	}
	if !seen {
		out = append(out, member{"properties", render(properties)})
	}
	if len(required) > 0 && value(out, "required") == nil {
		out = append(out, member{"required", quoted(required)})
	}
	v := render(out)
	// Compact leaves the order, and makes one line of a pretty-printed schema: blanks cost tokens.
	if err := v.Compact(lenient); err != nil {
		return jsontext.Value(noParameters)
	}
	return v
}

// resolve follows one $ref of the form "#/a/b" inside the same schema.
func resolve(root, branch []member) []member {
	var ref string
	raw := value(branch, "$ref")
	if raw == nil || json.Unmarshal(raw, &ref) != nil || !strings.HasPrefix(ref, "#/") {
		return branch
	}
	at := root
	for _, step := range strings.Split(ref[2:], "/") {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		at = object(value(at, step))
	}
	return at
}

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
