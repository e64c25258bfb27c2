package convert

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// unwrapper takes the arguments of the function that stands for a custom tool,
// {"input":"…"}, in pieces, and gives out the string inside, as far as it can be
// decoded: never half an escape, a character, or a surrogate pair.
//
// Models do not always keep to the form. As long as nothing has been given out,
// finish falls back to decoding the whole, or to the bare text.
type unwrapper struct {
	raw   []byte // what has not been decoded yet
	out   strings.Builder
	state unwrapState
}

type unwrapState uint8

const (
	unwrapPrefix unwrapState = iota // before the string
	unwrapString                    // inside it
	unwrapDone                      // behind it
	unwrapOther                     // not of the form
)

const unwrapLead = `{"input":"`

// feed takes a piece and returns what it adds to the input.
func (u *unwrapper) feed(piece string) string {
	u.raw = append(u.raw, piece...)
	if u.state == unwrapPrefix {
		u.prefix()
	}
	if u.state != unwrapString {
		return ""
	}
	before := u.out.Len()
	u.decode()
	return u.out.String()[before:]
}

// prefix skips the part before the string, in which white space may stand
// anywhere between tokens.
func (u *unwrapper) prefix() {
	want := 0
	for i, c := range u.raw {
		if want < len(unwrapLead) && c == unwrapLead[want] {
			if want++; want == len(unwrapLead) {
				u.raw = u.raw[i+1:]
				u.state = unwrapString
				return
			}
			continue
		}
		inName := want >= 2 && want <= 7
		if inName || (c != ' ' && c != '\n' && c != '\t' && c != '\r') {
			u.state = unwrapOther
			return
		}
	}
}

var simpleEscapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func (u *unwrapper) decode() {
	b := u.raw
	for len(b) > 0 {
		switch {
		case b[0] == '"':
			u.raw, u.state = nil, unwrapDone
			return
		case b[0] == '\\':
			n := u.escape(b)
			if n == 0 {
				u.raw = b
				return
			}
			b = b[n:]
		default:
			if !utf8.FullRune(b) {
				u.raw = b
				return
			}
			r, n := utf8.DecodeRune(b)
			u.out.WriteRune(r)
			b = b[n:]
		}
	}
	u.raw = nil
}

// escape decodes the escape sequence that b begins with and returns its length,
// or 0 when the end has not come yet.
func (u *unwrapper) escape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	if c, ok := simpleEscapes[b[1]]; ok {
		u.out.WriteByte(c)
		return 2
	}
	if b[1] != 'u' {
		u.out.WriteByte(b[1]) // not JSON; keep what it says
		return 2
	}
	first, ok := hex4(b[2:])
	if len(b) < 6 {
		return 0
	}
	if !ok {
		u.out.WriteString(`\u`)
		return 2
	}
	if !utf16.IsSurrogate(first) {
		u.out.WriteRune(first)
		return 6
	}
	if len(b) < 12 && (len(b) < 7 || b[6] == '\\') && (len(b) < 8 || b[7] == 'u') {
		return 0 // the other half may follow
	}
	if len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
		if second, ok := hex4(b[8:]); ok {
			if r := utf16.DecodeRune(first, second); r != utf8.RuneError {
				u.out.WriteRune(r)
				return 12
			}
		}
	}
	u.out.WriteRune(utf8.RuneError)
	return 6
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// finish returns the whole input, given all arguments, and what of it feed has
// not given out.
func (u *unwrapper) finish(arguments string) (input, rest string) {
	if u.state == unwrapString || u.state == unwrapDone {
		return u.out.String(), ""
	}
	var object struct {
		Input *string `json:"input"`
	}
	if json.Unmarshal([]byte(arguments), &object, lenient) == nil && object.Input != nil {
		return *object.Input, *object.Input
	}
	return arguments, arguments
}
