// Package union holds the two JSON unions that both OpenAI APIs are full of: a
// string or a list of parts, and a string or some other value.
package union

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Content is a string or a list of parts. The zero value, which JSON null also
// gives, is neither: the member is absent.
type Content[P any] struct {
	Text  string
	Parts []P

	isText bool
}

// Text returns content that is the string s, which may be empty.
func Text[P any](s string) Content[P] { return Content[P]{Text: s, isText: true} }

// Parts returns content that is a list, never nil.
func Parts[P any](parts ...P) Content[P] {
	if parts == nil {
		parts = []P{}
	}
	return Content[P]{Parts: parts}
}

// IsText tells whether the content is a string.
func (c Content[P]) IsText() bool { return c.isText }

// IsZero tells whether the content is absent.
func (c Content[P]) IsZero() bool { return !c.isText && c.Parts == nil }

// MarshalJSONTo writes the string, the list, or null.
func (c Content[P]) MarshalJSONTo(enc *jsontext.Encoder) error {
	if c.isText {
		return enc.WriteToken(jsontext.String(c.Text))
	}
	if c.Parts == nil {
		return enc.WriteToken(jsontext.Null)
	}
	return json.MarshalEncode(enc, c.Parts)
}

// UnmarshalJSONFrom reads a string, a list, or null.
func (c *Content[P]) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*c = Content[P]{}
	switch k := dec.PeekKind(); k {
	case '"':
		c.isText = true
		return json.UnmarshalDecode(dec, &c.Text)
	case '[':
		c.Parts = []P{}
		return json.UnmarshalDecode(dec, &c.Parts)
	case 'n':
		_, err := dec.ReadToken()
		return err
	default:
		return mismatch(dec, k, "a string or an array")
	}
}

// Value is a string or any other JSON value, which is kept as it came. The zero
// value, which JSON null also gives, is absent.
type Value struct {
	Text string
	// Raw is the value when it is not a string.
	Raw jsontext.Value

	isText bool
}

// String returns a value that is the string s, which may be empty.
func String(s string) Value { return Value{Text: s, isText: true} }

// Raw returns a value that is not a string.
func Raw(v jsontext.Value) Value { return Value{Raw: v} }

// IsText tells whether the value is a string.
func (v Value) IsText() bool { return v.isText }

// IsZero tells whether the value is absent.
func (v Value) IsZero() bool { return !v.isText && v.Raw == nil }

// JSON is the value as text: the string itself, or the JSON of anything else.
func (v Value) JSON() string {
	if v.isText {
		return v.Text
	}
	return string(v.Raw)
}

// MarshalJSONTo writes the string, the kept value, or null.
func (v Value) MarshalJSONTo(enc *jsontext.Encoder) error {
	if v.isText {
		return enc.WriteToken(jsontext.String(v.Text))
	}
	if v.Raw == nil {
		return enc.WriteToken(jsontext.Null)
	}
	return enc.WriteValue(v.Raw)
}

// UnmarshalJSONFrom reads any value.
func (v *Value) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*v = Value{}
	switch dec.PeekKind() {
	case '"':
		v.isText = true
		return json.UnmarshalDecode(dec, &v.Text)
	case 'n':
		_, err := dec.ReadToken()
		return err
	}
	raw, err := dec.ReadValue()
	v.Raw = raw.Clone()
	return err
}

func mismatch(dec *jsontext.Decoder, k jsontext.Kind, want string) error {
	if k == 0 { // a syntax error, which reading reports better
		_, err := dec.ReadToken()
		return err
	}
	return fmt.Errorf("expected %s, but got %s instead", want, Kind(k))
}

// Kind names a JSON kind as OpenAI's error messages do.
func Kind(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '{':
		return "an object"
	case '[':
		return "an array"
	}
	return "an invalid value"
}
