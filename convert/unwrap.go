package convert

import (
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
	out   []byte // what has been decoded of the last piece
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

// maxUnwrapPrefix bounds the white space between its tokens.
const maxUnwrapPrefix = 256

// feed takes a piece and returns what it adds to the input, and whether the
// arguments are of the form.
func (u *unwrapper) feed(piece string) (input string, inside bool) {
	switch u.state {
	case unwrapDone:
		return "", true
	case unwrapOther:
		return "", false
	}
	u.raw = append(u.raw, piece...)
	if u.state == unwrapPrefix {
		u.prefix()
	}
	if u.state != unwrapString {
		return "", false
	}
	u.out = u.out[:0]
	u.decode()
	return string(u.out), true
}

// prefix skips the part before the string, in which white space may stand
// anywhere between tokens.
func (u *unwrapper) prefix() {
	want := 0
	if len(u.raw) > maxUnwrapPrefix {
		u.state = unwrapOther
		return
	}
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
			u.out = utf8.AppendRune(u.out, r)
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
		u.out = append(u.out, c)
		return 2
	}
	if b[1] != 'u' {
		u.out = append(u.out, b[1]) // not JSON; keep what it says
		return 2
	}
	first, ok := hex4(b[2:])
	if len(b) < 6 {
		return 0
	}
	if !ok {
		u.out = append(u.out, `\u`...)
		return 2
	}
	if !utf16.IsSurrogate(first) {
		u.out = utf8.AppendRune(u.out, first)
		return 6
	}
	if len(b) < 12 && (len(b) < 7 || b[6] == '\\') && (len(b) < 8 || b[7] == 'u') {
		return 0 // the other half may follow
	}
	if len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
		if second, ok := hex4(b[8:]); ok {
			if r := utf16.DecodeRune(first, second); r != utf8.RuneError {
				u.out = utf8.AppendRune(u.out, r)
				return 12
			}
		}
	}
	u.out = utf8.AppendRune(u.out, utf8.RuneError)
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

// cut reports whether what has come is the beginning of the form, and not all of it.
func (u *unwrapper) cut() bool {
	return u.state == unwrapString || u.state == unwrapPrefix && !isBlank(string(u.raw))
}

// rest is what of the input feed has not given out, at the end: all of it where
// the arguments were not of the form.
func (u *unwrapper) rest(arguments string) string {
	if u.state == unwrapString || u.state == unwrapDone {
		return ""
	}
	var object struct {
		Input *string `json:"input"`
	}
	if json.Unmarshal([]byte(arguments), &object, lenient) == nil && object.Input != nil {
		return *object.Input
	}
	return arguments
}
