package chat

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/internal/plain"
)

// marshalOptions: names were found unique and text valid when they were read, or
// come from this program.
var marshalOptions = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

func appendJSON(b []byte, v any) ([]byte, error) {
	out, err := json.Marshal(v, marshalOptions)
	return append(b, out...), err
}

// Append appends the request as JSON, its messages without reflection.
func (r *Request) Append(b []byte) ([]byte, error) {
	head := *r
	head.Messages = nil
	rest, err := json.Marshal(&head, marshalOptions)
	if err != nil {
		return b, err
	}
	w := plain.Writer{B: b}
	w.Open()
	w.Some("model", r.Model)
	w.Name("messages")
	w.B = append(w.B, '[')
	at := len(w.B) - len(b) // where the messages' place is in rest
	for i := range r.Messages {
		if i > 0 {
			w.B = append(w.B, ',')
		}
		if w.B, err = r.Messages[i].Append(w.B); err != nil {
			return b, err
		}
	}
	return append(w.B, rest[at:]...), nil
}

// ordinary tells of a message that has no members but those that Append writes itself.
func (m *Message) ordinary() bool {
	return m.Role != "" && m.FunctionCall == nil && m.Audio == nil && m.ReasoningDetails == nil && m.Unknown == nil
}

// Append appends the message as JSON on one line, the common members without
// reflection.
func (m *Message) Append(b []byte) (_ []byte, err error) {
	if !m.ordinary() {
		return appendJSON(b, m)
	}
	w := plain.Writer{B: b}
	w.Open()
	w.Some("role", m.Role)
	switch {
	case m.Content.IsText():
		w.String("content", m.Content.Text)
	case m.Content.Parts != nil:
		w.Name("content")
		if w.B, err = appendParts(w.B, m.Content.Parts); err != nil {
			return b, err
		}
	case m.NullContent:
		w.Name("content")
		w.B = append(w.B, "null"...)
	}
	w.Some("name", m.Name)
	w.Some("refusal", m.Refusal)
	if m.ToolCalls != nil {
		w.Name("tool_calls")
		w.B = append(w.B, '[')
		for i := range m.ToolCalls {
			if i > 0 {
				w.B = append(w.B, ',')
			}
			if w.B, err = m.ToolCalls[i].Append(w.B); err != nil {
				return b, err
			}
		}
		w.B = append(w.B, ']')
	}
	if m.ReasoningContent != nil {
		w.String("reasoning_content", *m.ReasoningContent)
	}
	if m.Reasoning != nil {
		w.String("reasoning", *m.Reasoning)
	}
	w.Some("tool_call_id", m.ToolCallID)
	w.Close()
	return w.B, nil
}

func appendParts(b []byte, parts []Part) (_ []byte, err error) {
	b = append(b, '[')
	for i := range parts {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = parts[i].Append(b); err != nil {
			return b, err
		}
	}
	return append(b, ']'), nil
}

// Append appends the part as JSON on one line, text and images without reflection.
func (p *Part) Append(b []byte) ([]byte, error) {
	if p.Refusal != "" || p.InputAudio != nil || p.File != nil || p.Thinking != nil || p.CacheBreakpoint != nil || p.Unknown != nil ||
		p.ImageURL != nil && p.ImageURL.Unknown != nil {
		return appendJSON(b, p)
	}
	w := plain.Writer{B: b}
	w.Open()
	w.String("type", p.Type)
	if p.Type == "text" || p.Text != "" {
		w.String("text", p.Text)
	}
	if p.ImageURL != nil {
		w.Name("image_url")
		w.Open()
		w.String("url", p.ImageURL.URL)
		w.Some("detail", p.ImageURL.Detail)
		w.Close()
	}
	w.Close()
	return w.B, nil
}

// Append appends the call as JSON on one line, that of a function without reflection.
func (c *ToolCall) Append(b []byte) ([]byte, error) {
	if c.Custom != nil || c.Index != nil || c.Unknown != nil || c.Function != nil && (c.Function.Unknown != nil || c.Function.Arguments.Raw != nil) {
		return appendJSON(b, c)
	}
	w := plain.Writer{B: b}
	w.Open()
	w.Some("id", c.ID)
	w.Some("type", c.Type)
	if c.Function != nil {
		w.Name("function")
		w.Open()
		w.Some("name", c.Function.Name)
		if c.Function.Arguments.IsText() {
			w.String("arguments", c.Function.Arguments.Text)
		}
		w.Close()
	}
	w.Close()
	return w.B, nil
}
