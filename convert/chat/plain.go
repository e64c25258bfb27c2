package chat

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/internal/plain"
)

// UnmarshalJSONFrom reads a list, or null.
func (m *Messages) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '[' {
		return json.UnmarshalDecode(dec, (*[]Message)(m))
	}
	return plain.List(dec, (*[]Message)(m))
}

// UnmarshalJSONFrom reads a message. One of the common members in their common form
// is read without reflection.
func (m *Message) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() == '{' {
		*m = Message{}
		if r := plain.At(dec); m.read(&r) {
			return dec.SkipValue() // which checks what has been read
		}
	}
	type object Message
	*m = Message{}
	return json.UnmarshalDecode(dec, (*object)(m))
}

var roles = []string{"user", "assistant", "tool", "system", "developer"}

func (m *Message) read(r *plain.Reader) bool {
	return r.Object(func(name []byte) (ok bool) {
		if r.Next() == 'n' {
			m.Content = Content{}
			return string(name) == "content" && r.Null()
		}
		switch string(name) {
		case "role":
			m.Role, ok = r.Word(roles...)
		case "content":
			if r.Next() == '"' {
				var text string
				text, ok = r.String()
				m.Content = Text(text)
				break
			}
			parts := []Part{}
			ok = r.List(func() bool {
				var p Part
				if !p.read(r) {
					return false
				}
				parts = append(parts, p)
				return true
			})
			m.Content = Parts(parts...)
		case "name":
			m.Name, ok = r.String()
		case "tool_calls":
			m.ToolCalls = []ToolCall{}
			ok = r.List(func() bool {
				var c ToolCall
				if !c.read(r) {
					return false
				}
				m.ToolCalls = append(m.ToolCalls, c)
				return true
			})
		case "tool_call_id":
			m.ToolCallID, ok = r.String()
		}
		return ok
	})
}

func (p *Part) read(r *plain.Reader) bool {
	return r.Object(func(name []byte) (ok bool) {
		switch string(name) {
		case "type":
			p.Type, ok = r.Word("text", "image_url")
		case "text":
			p.Text, ok = r.String()
		case "image_url":
			p.ImageURL = new(ImageURL)
			ok = r.Object(func(name []byte) (ok bool) {
				switch string(name) {
				case "url":
					p.ImageURL.URL, ok = r.String()
				case "detail":
					p.ImageURL.Detail, ok = r.Word("auto", "low", "high")
				}
				return ok
			})
		}
		return ok
	})
}

func (c *ToolCall) read(r *plain.Reader) bool {
	return r.Object(func(name []byte) (ok bool) {
		switch string(name) {
		case "id":
			c.ID, ok = r.String()
		case "type":
			c.Type, ok = r.Word("function")
		case "function":
			f := new(FunctionCall)
			c.Function = f
			ok = r.Object(func(name []byte) (ok bool) {
				switch string(name) {
				case "name":
					f.Name, ok = r.String()
				case "arguments":
					var text string
					text, ok = r.String()
					f.Arguments = Arguments(text)
				}
				return ok
			})
		}
		return ok
	})
}
