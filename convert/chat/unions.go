package chat

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/internal/union"
)

// Stop is one stop sequence or a list of them; it is written as a list.
type Stop []string

// UnmarshalJSONFrom reads a string, a list, or null.
func (s *Stop) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	switch k := dec.PeekKind(); k {
	case '"':
	case '[', 'n', 0:
		return json.UnmarshalDecode(dec, (*[]string)(s))
	default:
		return fmt.Errorf("expected a string or an array of strings, but got %s instead", union.Kind(k))
	}
	var one string
	if err := json.UnmarshalDecode(dec, &one); err != nil {
		return err
	}
	*s = Stop{one}
	return nil
}

// ImageURL is the payload of an image_url part. Clients that send the bare URL
// in its place are understood.
type ImageURL struct {
	URL     string         `json:"url"`
	Detail  string         `json:"detail,omitzero"`
	Unknown jsontext.Value `json:",embed"`
}

// UnmarshalJSONFrom reads the object or a bare URL.
func (u *ImageURL) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*u = ImageURL{}
	if dec.PeekKind() == '"' {
		return json.UnmarshalDecode(dec, &u.URL)
	}
	type object ImageURL
	return json.UnmarshalDecode(dec, (*object)(u))
}

// ToolChoice is a mode (none, auto, required), a tool, or a list of allowed
// tools.
type ToolChoice struct {
	// Mode is set when the choice is a bare word.
	Mode string `json:"-"`

	Type         string         `json:"type,omitzero"`
	Function     *Named         `json:"function,omitzero"`
	Custom       *Named         `json:"custom,omitzero"`
	AllowedTools *AllowedTools  `json:"allowed_tools,omitzero"`
	Unknown      jsontext.Value `json:",embed"`
}

// Named refers to a tool.
type Named struct {
	Name    string         `json:"name,omitzero"`
	Unknown jsontext.Value `json:",embed"`
}

// AllowedTools narrows the tools of a request without changing their list.
type AllowedTools struct {
	Mode    string         `json:"mode,omitzero"`
	Tools   []ToolChoice   `json:"tools"`
	Unknown jsontext.Value `json:",embed"`
}

// MarshalJSONTo writes the word or the object.
func (c ToolChoice) MarshalJSONTo(enc *jsontext.Encoder) error {
	if c.Mode != "" {
		return enc.WriteToken(jsontext.String(c.Mode))
	}
	type object ToolChoice
	return json.MarshalEncode(enc, object(c))
}

// UnmarshalJSONFrom reads a word or an object.
func (c *ToolChoice) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*c = ToolChoice{}
	switch k := dec.PeekKind(); k {
	case '"':
		return json.UnmarshalDecode(dec, &c.Mode)
	case '{', 0:
		type object ToolChoice
		return json.UnmarshalDecode(dec, (*object)(c))
	default:
		return fmt.Errorf("expected a string or an object, but got %s instead", union.Kind(k))
	}
}

// FunctionMode is the deprecated function_call of a request: none, auto, or a
// function's name.
type FunctionMode struct {
	Mode string `json:"-"`
	Name string `json:"name"`
}

// MarshalJSONTo writes the word or the object.
func (m FunctionMode) MarshalJSONTo(enc *jsontext.Encoder) error {
	if m.Mode != "" {
		return enc.WriteToken(jsontext.String(m.Mode))
	}
	type object FunctionMode
	return json.MarshalEncode(enc, object(m))
}

// UnmarshalJSONFrom reads a word or an object.
func (m *FunctionMode) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*m = FunctionMode{}
	if dec.PeekKind() == '"' {
		return json.UnmarshalDecode(dec, &m.Mode)
	}
	type object FunctionMode
	return json.UnmarshalDecode(dec, (*object)(m))
}

// MarshalJSONTo writes the part. A text part has its text even where it is empty:
// servers demand the member.
func (p Part) MarshalJSONTo(enc *jsontext.Encoder) error {
	type object Part
	if p.Type != "text" || p.Text != "" {
		return json.MarshalEncode(enc, object(p))
	}
	type withText struct {
		Type string `json:"type"`
		Text string `json:"text"`
		object
	}
	return json.MarshalEncode(enc, withText{Type: p.Type, object: object(p)})
}

// MarshalJSONTo writes the message, with content null where NullContent says so.
func (m Message) MarshalJSONTo(enc *jsontext.Encoder) error {
	type object Message
	if !m.NullContent || !m.Content.IsZero() {
		return json.MarshalEncode(enc, object(m))
	}
	type withNull struct {
		Role    string  `json:"role"`
		Content *string `json:"content"`
		object
	}
	return json.MarshalEncode(enc, withNull{Role: m.Role, object: object(m)})
}
