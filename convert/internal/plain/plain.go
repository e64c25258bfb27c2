// Package plain reads and writes the JSON that nearly all requests and answers
// consist of, objects and lists with strings in them, without reflection and in one
// look at each byte.
//
// A [Reader] guesses: it gives up at anything out of the ordinary, and does not
// check the syntax of what it skips. Who reads with it must have a decoder go over
// the same bytes.
package plain

import (
	"bytes"
	"unicode/utf8"
	"unsafe"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Reader is what is still to be read.
type Reader []byte

// At makes a reader of the next value of a decoder, as far as it is in memory.
func At(dec *jsontext.Decoder) Reader {
	r := Reader(dec.UnreadBuffer())
	r.space()
	if len(r) > 0 && (r[0] == ',' || r[0] == ':') {
		r = r[1:]
	}
	return r
}

func (r *Reader) space() {
	b := *r
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\n' || b[0] == '\t' || b[0] == '\r') {
		b = b[1:]
	}
	*r = b
}

// Next is the first character of the next value, or 0.
func (r *Reader) Next() byte {
	r.space()
	if len(*r) == 0 {
		return 0
	}
	return (*r)[0]
}

// Take takes a character, if it is the next one.
func (r *Reader) Take(c byte) bool {
	if r.Next() != c {
		return false
	}
	*r = (*r)[1:]
	return true
}

// Null takes a null, if it is next.
func (r *Reader) Null() bool {
	r.space()
	rest, ok := bytes.CutPrefix(*r, []byte("null"))
	*r = rest
	return ok
}

// Name takes the name of a member and the colon behind it. A name with an escape in
// it is not taken.
func (r *Reader) Name() (name []byte, ok bool) {
	quoted, ok := r.quoted()
	if !ok || bytes.IndexByte(quoted, '\\') >= 0 || !r.Take(':') {
		return nil, false
	}
	return quoted[1 : len(quoted)-1], true
}

// quoted takes a string with its quotes.
func (r *Reader) quoted() ([]byte, bool) {
	if r.Next() != '"' {
		return nil, false
	}
	b := *r
	end := End(b[1:])
	if end < 0 {
		return nil, false
	}
	*r = b[end+2:]
	return b[:end+2], true
}

// String takes a string.
func (r *Reader) String() (string, bool) {
	quoted, ok := r.quoted()
	if !ok {
		return "", false
	}
	text := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(text, '\\') < 0 {
		if !utf8.Valid(text) {
			return "", false
		}
		return string(text), true
	}
	out, err := jsontext.AppendUnquote(make([]byte, 0, len(quoted)), quoted)
	if err != nil {
		return "", false
	}
	if len(out) < len(text)/2 {
		return string(out), true // the rest of its memory would be wasted
	}
	return unsafe.String(unsafe.SliceData(out), len(out)), true // nothing else refers to out
}

// Word takes a string that is one of a few, and is not copied then.
func (r *Reader) Word(known ...string) (string, bool) {
	quoted, ok := r.quoted()
	if !ok {
		return "", false
	}
	text := quoted[1 : len(quoted)-1]
	for _, word := range known {
		if string(text) == word {
			return word, true
		}
	}
	if bytes.IndexByte(text, '\\') >= 0 || !utf8.Valid(text) {
		return "", false
	}
	return string(text), true
}

// Int takes a whole number of at most 18 digits.
func (r *Reader) Int() (n int64, ok bool) {
	r.space()
	b := *r
	i := 0
	for i < len(b) && i < 18 && b[i] >= '0' && b[i] <= '9' {
		n = n*10 + int64(b[i]-'0')
		i++
	}
	if i == 0 || i > 1 && b[0] == '0' || i == len(b) || b[i] >= '0' && b[i] <= '9' || b[i] == '.' || b[i] == 'e' || b[i] == 'E' {
		return 0, false
	}
	*r = b[i:]
	return n, true
}

// Raw takes a value of any kind, as it stands.
func (r *Reader) Raw() ([]byte, bool) {
	r.space()
	b := *r
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			end := End(b[i+1:])
			if end < 0 {
				return nil, false
			}
			i += end + 1
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		case ',', ' ', '\n', '\r', '\t', ':':
			continue
		default: // a number or a word
			for i+1 < len(b) && !delimits(b[i+1]) {
				i++
			}
		}
		if depth < 0 {
			return nil, false
		}
		if depth == 0 {
			*r = b[i+1:]
			return b[:i+1], true
		}
	}
	return nil, false
}

func delimits(c byte) bool {
	switch c {
	case ',', ':', '}', ']', '{', '[', '"', ' ', '\n', '\r', '\t':
		return true
	}
	return false
}

// Skip takes a value and forgets it.
func (r *Reader) Skip() bool {
	_, ok := r.Raw()
	return ok
}

// More takes a comma, or the character that closes the object or list; more tells
// which.
func (r *Reader) More(closing byte) (more, ok bool) {
	switch r.Next() {
	case ',':
		*r = (*r)[1:]
		return true, true
	case closing:
		*r = (*r)[1:]
		return false, true
	}
	return false, false
}

// Object takes an object: member is called behind each name, and takes the value.
func (r *Reader) Object(member func(name []byte) bool) bool {
	if !r.Take('{') {
		return false
	}
	if r.Take('}') {
		return true
	}
	for {
		name, ok := r.Name()
		if !ok || !member(name) {
			return false
		}
		if more, ok := r.More('}'); !more {
			return ok
		}
	}
}

// List takes a list: element is called at each element, and takes it.
func (r *Reader) List(element func() bool) bool {
	if !r.Take('[') {
		return false
	}
	if r.Take(']') {
		return true
	}
	for {
		if !element() {
			return false
		}
		if more, ok := r.More(']'); !more {
			return ok
		}
	}
}

// List decodes a list. As it is the most of its document, memory for the rest is taken
// by what has come: an eighth more than its elements need if they are all of a size.
func List[T any, P interface {
	*T
	json.UnmarshalerFrom
}](dec *jsontext.Decoder, to *[]T) error {
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	list := (*to)[:0]
	begin := dec.InputOffset()
	for dec.PeekKind() != ']' {
		if n := len(list); n == cap(list) {
			more := max(4, n)
			if read := dec.InputOffset() - begin; n > 0 && read > 0 {
				more = min(more*8, max(4, int(int64(n)*int64(len(dec.UnreadBuffer()))/read)*9/8))
			}
			list = append(make([]T, 0, n+more), list...)
		}
		list = list[:len(list)+1]
		if err := json.UnmarshalDecode(dec, P(&list[len(list)-1])); err != nil {
			*to = list
			return err
		}
	}
	if list == nil {
		list = []T{}
	}
	*to = list
	_, err := dec.ReadToken()
	return err
}

// Empty takes a list without elements.
func (r *Reader) Empty() bool { return r.Take('[') && r.Take(']') }

// End is the index of the quote that ends the JSON string whose first character is
// b[0], or -1.
func End(b []byte) int {
	from := 0
	for {
		q := bytes.IndexByte(b[from:], '"')
		if q < 0 {
			return -1
		}
		q += from
		slashes := 0
		for q-1-slashes >= 0 && b[q-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return q
		}
		from = q + 1
	}
}

// Quote appends a JSON string. Invalid UTF-8 is replaced.
func Quote(b []byte, s string) []byte {
	// Its only error is that of the invalid UTF-8. Of a string it would make a copy.
	b, _ = jsontext.AppendQuote(b, unsafe.Slice(unsafe.StringData(s), len(s)))
	return b
}

// Writer appends the members of an object.
type Writer struct {
	B     []byte
	began bool
}

// Open begins an object.
func (w *Writer) Open() {
	w.B = append(w.B, '{')
	w.began = false
}

// Close ends the object. A member of an object around it may follow.
func (w *Writer) Close() {
	w.B = append(w.B, '}')
	w.began = true
}

// Name appends a name, which needs no escapes. Its value comes next.
func (w *Writer) Name(name string) {
	if w.began {
		w.B = append(w.B, ',')
	}
	w.began = true
	w.B = append(append(append(w.B, '"'), name...), '"', ':')
}

// String appends a member that is a string.
func (w *Writer) String(name, s string) {
	w.Name(name)
	w.B = Quote(w.B, s)
}

// Some is String, unless s is empty.
func (w *Writer) Some(name, s string) {
	if s != "" {
		w.String(name, s)
	}
}

// Members appends the members of an object, if there is one.
func (w *Writer) Members(object jsontext.Value) {
	from := len(w.B)
	b := Compact(append(w.B, ','), bytes.TrimSpace(object))
	if len(b) <= from+len(",{}") {
		return
	}
	inside := b[from+2 : len(b)-1]
	if !w.began {
		from--
	}
	w.B = b[:from+1+copy(b[from+1:], inside)]
	w.began = true
}

// Compact appends valid JSON without line ends, which events must not have.
func Compact(b []byte, v jsontext.Value) []byte {
	if bytes.IndexByte(v, '\n') >= 0 || bytes.IndexByte(v, '\r') >= 0 {
		v = v.Clone()
		_ = v.Compact() // of valid JSON there is no error
	}
	return append(b, v...)
}
