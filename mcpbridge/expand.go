package mcpbridge

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// expand reads a text and fills in ${VAR}. where is the member's place in errors.
func (d *draft) expand(where string, raw jsontext.Value) (string, error) {
	s, err := str(where, raw)
	if err != nil {
		return "", err
	}
	s, err = expand(s, d.env)
	if err != nil {
		return "", fmt.Errorf("%s: %w", where, err)
	}
	return s, nil
}

// expand fills in ${VAR}, ${VAR:-default}, ${env:VAR} and ${env:VAR:-default}. $${ is a literal ${, and a $ without a
// brace stays. What is filled in is not looked through again. A variable that is not set and has no default is an
// error: the text "${TOKEN}" sent as a password would be worse.
func expand(s string, env func(string) (string, bool)) (string, error) {
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(s)
			return b.String(), nil
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1])
			b.WriteString("${")
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		inside, rest, ok := strings.Cut(s[i+2:], "}")
		if !ok {
			return "", fmt.Errorf(`"${%s" has no end; a literal ${ is written $${`, inside)
		}
		s = rest
		name, fallback, has := strings.Cut(inside, ":-")
		if prompt, ok := strings.CutPrefix(name, "input:"); ok {
			return "", fmt.Errorf("${input:%s} asks a person, and here there is none: use a variable of the environment", prompt)
		}
		name = strings.TrimPrefix(name, "env:")
		if name == "" || strings.ContainsAny(name, ":=$ {") {
			return "", fmt.Errorf("${%s} is not understood; write ${VAR} or ${VAR:-default}", inside)
		}
		value, set := env(name)
		switch {
		case set && (value != "" || !has):
			b.WriteString(value)
		case has:
			b.WriteString(fallback)
		default:
			return "", fmt.Errorf("the environment has no %s; set it, or write ${%s:-default}", name, name)
		}
	}
}

// bare makes JSON of JSON with comments and trailing commas, as editors write it. What goes becomes blanks, so places
// in errors stay true. What is broken stays broken: the parser is to complain, not this.
func bare(data []byte) []byte {
	out := []byte(strings.TrimPrefix(string(data), "\ufeff"))
	comma := -1 // a comma that nothing but blanks has followed
	for i := 0; i < len(out); i++ {
		switch c := out[i]; {
		case c == '"':
			comma = -1
			for i++; i < len(out) && out[i] != '"' && out[i] != '\n'; i++ {
				if out[i] == '\\' {
					i++
				}
			}
		case c == '/' && i+1 < len(out) && out[i+1] == '/':
			for ; i < len(out) && out[i] != '\n'; i++ {
				out[i] = ' '
			}
		case c == '/' && i+1 < len(out) && out[i+1] == '*':
			end := strings.Index(string(out[i+2:]), "*/")
			if end < 0 {
				return out
			}
			for end += i + 4; i < end; i++ {
				if out[i] != '\n' {
					out[i] = ' '
				}
			}
			i--
		case c == ',':
			comma = i
		case (c == '}' || c == ']') && comma >= 0:
			out[comma] = ' '
			comma = -1
		case c != ' ' && c != '\t' && c != '\r' && c != '\n':
			comma = -1
		}
	}
	return out
}

// meant suggests the known word that is nearest to s, if one is near.
func meant(s string, known []string) string {
	best, at := "", 3
	for _, k := range known {
		if d := distance(strings.ToLower(s), strings.ToLower(k)); d < at {
			best, at = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// distance is Levenshtein's, and 9 for words too long to be a slip.
func distance(a, b string) int {
	if len(a) > 40 || len(b) > 40 {
		return 9
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
