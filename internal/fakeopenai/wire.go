package fakeopenai

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// obj is a JSON object whose members keep their order: upstreams send `type` or `id` first, and a reader that
// depends on it should be caught by the dialects that do not.
type obj []member

type member struct {
	name  string
	value any
}

// get returns the value of the first member called name, or nil.
func (o obj) get(name string) any {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// set returns a copy of o in which name has value, in its old place or at the end.
func (o obj) set(name string, value any) obj {
	o = slices.Clone(o)
	for i := range o {
		if o[i].name == name {
			o[i].value = value
			return o
		}
	}
	return append(o, member{name, value})
}

// appendJSON writes v, which is made of obj, maps, slices and scalars only. It is written by hand because a
// benchmark's upstream must cost less than what it measures.
func appendJSON(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		return strconv.AppendFloat(b, v, 'g', -1, 64)
	case json.Number:
		return append(b, v...)
	case string:
		b, _ = jsontext.AppendQuote(b, v) // bad UTF-8 cannot arrive: requests that hold it are refused
		return b
	case obj:
		b = append(b, '{')
		for i, m := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, m.name)
			b = append(b, ':')
			b = appendJSON(b, m.value)
		}
		return append(b, '}')
	case map[string]any:
		sorted := make(obj, 0, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			sorted = append(sorted, member{name, v[name]})
		}
		return appendJSON(b, sorted)
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, e)
		}
		return append(b, ']')
	case []string:
		return appendJSON(b, anys(v))
	case []obj:
		return appendJSON(b, anys(v))
	case []int:
		return appendJSON(b, anys(v))
	case []float64:
		return appendJSON(b, anys(v))
	}
	panic(fmt.Sprintf("fakeopenai: no JSON for %T", v))
}

func anys[T any](list []T) []any {
	out := make([]any, len(list))
	for i, e := range list {
		out[i] = e
	}
	return out
}

func toJSON(v any) []byte { return appendJSON(nil, v) }

const frameSize = 480 // what most frames fit in

// dataFrame is one server-sent event without a name, as Chat Completions streams have it.
func dataFrame(v any) []byte {
	b := appendJSON(append(make([]byte, 0, frameSize), "data: "...), v)
	return append(b, "\n\n"...)
}

// namedFrame is one server-sent event of a Responses stream.
func namedFrame(name string, v any) []byte {
	b := append(append(make([]byte, 0, frameSize), "event: "...), name...)
	b = append(b, "\ndata: "...)
	b = appendJSON(b, v)
	return append(b, "\n\n"...)
}

// comment is a line that readers must skip; upstreams send such lines to keep idle connections open.
func comment(text string) []byte { return []byte(": " + text + "\n\n") }

var doneFrame = []byte("data: [DONE]\n\n")

// escapeMarkup writes <, > and & and the two line separators of Unicode as \u escapes, as Go's encoding/json does in Ollama.
// These characters stand in JSON only inside strings, so replacing them in finished bytes is safe.
func escapeMarkup(b []byte) []byte {
	for _, r := range []string{"<", ">", "&", "\u2028", "\u2029"} {
		b = bytes.ReplaceAll(b, []byte(r), fmt.Appendf(nil, `\u%04x`, []rune(r)[0]))
	}
	return b
}

// mint makes identifiers. They look random, are unique within the process, and are the same in every run.
type mint struct {
	space string // distinguishes servers, so that two fakes behind one gateway never share a call id
	count int
}

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// id returns prefix and n further letters or digits.
func (m *mint) id(prefix string, n int) string {
	m.count++
	return prefix + scramble(fmt.Sprintf("%s/%d", m.space, m.count), n)
}

// padding is what obfuscation members are cut from: OpenAI pads its deltas so that their size tells nothing.
type padding int

var noise = scramble("obfuscation", 256)

func (p *padding) next() string {
	*p++
	at := int(*p) * 13 % 200
	return noise[at : at+4+int(*p)%9]
}

func scramble(seed string, n int) string {
	var b strings.Builder
	for round := 0; b.Len() < n; round++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s#%d", seed, round))
		for _, c := range sum {
			if b.Len() == n {
				break
			}
			b.WriteByte(alphabet[int(c)%len(alphabet)])
		}
	}
	return b.String()
}

// seal makes the encrypted_content of a reasoning item. It is not secret, only verifiable: unseal tells a blob
// of this package from any other, which is all that OpenAI's check amounts to for a gateway.
func seal(text string) string {
	return "gAAAAAB" + base64.RawURLEncoding.EncodeToString(append(sealTag(text), text...))
}

func unseal(blob string) (text string, ok bool) {
	rest, ok := strings.CutPrefix(blob, "gAAAAAB")
	if !ok {
		return "", false
	}
	raw, err := base64.RawURLEncoding.DecodeString(rest)
	if err != nil || len(raw) < 12 {
		return "", false
	}
	text = string(raw[12:])
	return text, bytes.Equal(raw[:12], sealTag(text))
}

func sealTag(text string) []byte {
	sum := sha256.Sum256([]byte("fakeopenai seal " + text))
	return sum[:12]
}
