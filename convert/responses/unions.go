package responses

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/internal/plain"
	"github.com/labiium/chat2response/convert/internal/union"
)

// UnmarshalJSONFrom reads a string, a list of items, or null. An empty string is
// an empty list.
func (in *Input) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	switch k := dec.PeekKind(); k {
	case '"':
		var s string
		if err := json.UnmarshalDecode(dec, &s); err != nil {
			return err
		}
		*in = Input{}
		if s != "" {
			*in = Input{{Type: "message", Role: "user", Content: Text(s)}}
		}
		return nil
	case '[':
		return plain.List(dec, (*[]Item)(in))
	case 'n', 0: // 0: a syntax error, which reading reports better
		return json.UnmarshalDecode(dec, (*[]Item)(in))
	default:
		return fmt.Errorf("expected a string or an array of input items, but got %s instead", union.Kind(k))
	}
}

// Conversation is a conversation's id, bare or in an object.
type Conversation struct {
	ID      string         `json:"id"`
	Unknown jsontext.Value `json:",embed"`
}

// UnmarshalJSONFrom reads the bare id or the object.
func (c *Conversation) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*c = Conversation{}
	if dec.PeekKind() == '"' {
		return json.UnmarshalDecode(dec, &c.ID)
	}
	type object Conversation
	return json.UnmarshalDecode(dec, (*object)(c))
}

// MarshalJSONTo writes the tool. A namespace has a description even where it is
// empty: it is required there.
func (t Tool) MarshalJSONTo(enc *jsontext.Encoder) error {
	type object Tool
	if t.Type != "namespace" || t.Description != "" {
		return json.MarshalEncode(enc, object(t))
	}
	type withDescription struct {
		Type        string `json:"type"`
		Name        string `json:"name"`
		Description string `json:"description"`
		object
	}
	return json.MarshalEncode(enc, withDescription{Type: t.Type, Name: t.Name, object: object(t)})
}

// ToolChoice is a mode (none, auto, required), a tool, or a list of allowed
// tools.
type ToolChoice struct {
	// Word is set when the choice is a bare word.
	Word string `json:"-"`

	Type        string         `json:"type,omitzero"`
	Name        string         `json:"name,omitzero"`
	Namespace   string         `json:"namespace,omitzero"`
	ServerLabel string         `json:"server_label,omitzero"`
	Mode        string         `json:"mode,omitzero"`  // allowed_tools
	Tools       []ToolChoice   `json:"tools,omitzero"` // allowed_tools
	Unknown     jsontext.Value `json:",embed"`
}

// MarshalJSONTo writes the word or the object.
func (c ToolChoice) MarshalJSONTo(enc *jsontext.Encoder) error {
	if c.Word != "" {
		return enc.WriteToken(jsontext.String(c.Word))
	}
	type object ToolChoice
	return json.MarshalEncode(enc, object(c))
}

// UnmarshalJSONFrom reads a word or an object.
func (c *ToolChoice) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*c = ToolChoice{}
	switch k := dec.PeekKind(); k {
	case '"':
		return json.UnmarshalDecode(dec, &c.Word)
	case '{', 0:
		type object ToolChoice
		return json.UnmarshalDecode(dec, (*object)(c))
	default:
		return fmt.Errorf("expected a string or an object, but got %s instead", union.Kind(k))
	}
}
