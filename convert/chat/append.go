package chat

import (
	"strconv"

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
		if w.B, err = appendCalls(w.B, m.ToolCalls); err != nil {
			return b, err
		}
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

func appendCalls(b []byte, calls []ToolCall) (_ []byte, err error) {
	b = append(b, '[')
	for i := range calls {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = calls[i].Append(b); err != nil {
			return b, err
		}
	}
	return append(b, ']'), nil
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

// Append appends the counts as JSON, or null for none.
func (u *Usage) Append(b []byte) ([]byte, error) {
	if u == nil || u.PromptTokensDetails == nil || u.CompletionTokensDetails == nil || u.PromptCacheHitTokens != nil || u.CachedTokens != nil ||
		u.CacheCreationInputTokens != nil || u.ReasoningTokens != nil {
		return appendJSON(b, u)
	}
	w := plain.Writer{B: b}
	count := func(name string, n Count) {
		w.Name(name)
		w.B = strconv.AppendInt(w.B, int64(n), 10)
	}
	some := func(name string, n *Count) {
		if n != nil {
			count(name, *n)
		}
	}
	w.Open()
	count("prompt_tokens", u.PromptTokens)
	count("completion_tokens", u.CompletionTokens)
	count("total_tokens", u.TotalTokens)
	w.Name("prompt_tokens_details")
	w.Open()
	some("cached_tokens", u.PromptTokensDetails.CachedTokens)
	some("cache_write_tokens", u.PromptTokensDetails.CacheWriteTokens)
	count("audio_tokens", u.PromptTokensDetails.AudioTokens)
	w.Close()
	w.Name("completion_tokens_details")
	w.Open()
	some("reasoning_tokens", u.CompletionTokensDetails.ReasoningTokens)
	count("audio_tokens", u.CompletionTokensDetails.AudioTokens)
	count("accepted_prediction_tokens", u.CompletionTokensDetails.AcceptedPredictionTokens)
	count("rejected_prediction_tokens", u.CompletionTokensDetails.RejectedPredictionTokens)
	w.Close()
	w.Close()
	return w.B, nil
}

// Append appends the answer as JSON, one with a plain message without reflection.
func (c *Completion) Append(b []byte) (_ []byte, err error) {
	if len(c.Choices) != 1 || c.SystemFingerprint != nil {
		return c.marshal(b)
	}
	choice := &c.Choices[0]
	m := &choice.Message
	if len(m.Annotations) > 0 || m.FunctionCall != nil || m.ReasoningDetails != nil || choice.Logprobs != nil {
		return c.marshal(b)
	}
	w := plain.Writer{B: b}
	number := func(name string, n int64) {
		w.Name(name)
		w.B = strconv.AppendInt(w.B, n, 10)
	}
	nullable := func(name string, s *string) {
		if s != nil {
			w.String(name, *s)
			return
		}
		w.Name(name)
		w.B = append(w.B, "null"...)
	}
	w.Open()
	w.String("id", c.ID)
	w.String("object", c.Object)
	number("created", c.Created)
	w.String("model", c.Model)
	w.Name("choices")
	w.B = append(w.B, '[')
	w.Open()
	number("index", int64(choice.Index))
	w.Name("message")
	w.Open()
	w.String("role", m.Role)
	nullable("content", m.Content)
	nullable("refusal", m.Refusal)
	w.Name("annotations")
	if w.B = append(w.B, "[]"...); m.Annotations == nil {
		w.B = append(w.B[:len(w.B)-2], "null"...)
	}
	if m.ToolCalls != nil {
		w.Name("tool_calls")
		if w.B, err = appendCalls(w.B, m.ToolCalls); err != nil {
			return b, err
		}
	}
	w.Some("reasoning_content", m.ReasoningContent)
	w.Close()
	nullable("logprobs", nil)
	w.String("finish_reason", choice.FinishReason)
	w.Close()
	w.B = append(w.B, ']')
	if c.Usage != nil {
		w.Name("usage")
		if w.B, err = c.Usage.Append(w.B); err != nil {
			return b, err
		}
	}
	w.Some("service_tier", c.ServiceTier)
	nullable("system_fingerprint", nil)
	w.Close()
	return w.B, nil
}

func (c *Completion) marshal(b []byte) ([]byte, error) {
	out, err := json.Marshal(c, completionOptions)
	return append(b, out...), err
}

// completionOptions: a list that is not there is null, as in OpenAI's answers.
var completionOptions = json.JoinOptions(marshalOptions, json.FormatNilSliceAsNull(true))
