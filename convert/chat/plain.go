package chat

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/internal/plain"
	"github.com/labiium/chat2response/convert/internal/union"
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

// UnmarshalJSONFrom reads an answer. One of the common members in their common form is
// read without reflection, into the choices that a has.
func (a *Answer) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	choices := a.Choices[:0]
	if dec.PeekKind() == '{' {
		*a = Answer{Choices: choices}
		if r := plain.At(dec); a.read(&r) {
			return dec.SkipValue() // which checks what has been read
		}
	}
	type object Answer
	*a = Answer{Choices: choices}
	return json.UnmarshalDecode(dec, (*object)(a))
}

func (a *Answer) read(r *plain.Reader) bool {
	return r.Object(func(name []byte) (ok bool) {
		switch string(name) {
		case "id", "created", "model", "system_fingerprint", "obfuscation":
			return r.Skip()
		case "object":
			a.Object, ok = r.Word("chat.completion.chunk", "chat.completion")
		case "choices":
			if a.Choices = a.Choices[:0]; a.Choices == nil {
				a.Choices = []Choice{}
			}
			ok = r.List(func() bool {
				var c Choice
				if !c.read(r) {
					return false
				}
				a.Choices = append(a.Choices, c)
				return true
			})
		case "usage":
			a.Usage, ok = value(r)
		case "service_tier":
			a.ServiceTier, ok = value(r)
		case "error":
			a.Error, ok = jsontext.Value("null"), r.Null()
		}
		return ok
	})
}

// value reads a string, or keeps what else there is.
func value(r *plain.Reader) (union.Value, bool) {
	switch r.Next() {
	case '"':
		s, ok := r.Word("default", "auto")
		return union.String(s), ok
	case 'n':
		return union.Value{}, r.Null()
	}
	raw, ok := r.Raw()
	return union.Raw(jsontext.Value(raw).Clone()), ok
}

func (c *Choice) read(r *plain.Reader) bool {
	return r.Object(func(name []byte) (ok bool) {
		switch string(name) {
		case "index":
			var n int64
			n, ok = r.Int()
			c.Index = int(n)
		case "message":
			if c.Message == nil { // a second one would be merged into it
				c.Message = new(Delta)
				ok = c.Message.read(r)
			}
		case "delta":
			if c.Delta == nil {
				c.Delta = new(Delta)
				ok = c.Delta.read(r)
			}
		case "finish_reason":
			if c.FinishReason = ""; r.Next() == 'n' {
				return r.Null()
			}
			c.FinishReason, ok = r.Word("stop", "tool_calls", "length")
		case "logprobs":
			c.Logprobs, ok = union.Value{}, r.Null()
		}
		return ok
	})
}

func (d *Delta) read(r *plain.Reader) bool {
	text := func() (union.Value, bool) {
		if r.Next() == 'n' {
			return union.Value{}, r.Null()
		}
		s, ok := r.String()
		return union.String(s), ok
	}
	return r.Object(func(name []byte) (ok bool) {
		switch string(name) {
		case "role":
			return r.Skip()
		case "content":
			d.Content, ok = text()
		case "refusal":
			if d.Refusal = ""; r.Next() == 'n' {
				return r.Null()
			}
			d.Refusal, ok = r.String()
		case "reasoning_content":
			d.ReasoningContent, ok = text()
		case "reasoning":
			d.Reasoning, ok = text()
		case "tool_calls":
			if d.ToolCalls = nil; r.Next() == 'n' {
				return r.Null()
			}
			d.ToolCalls = CallDeltas{}
			ok = r.List(func() bool {
				var c CallDelta
				if !c.read(r) {
					return false
				}
				d.ToolCalls = append(d.ToolCalls, c)
				return true
			})
		case "annotations":
			d.Annotations, ok = jsontext.Value("[]"), r.Empty()
		}
		return ok
	})
}

func (c *CallDelta) read(r *plain.Reader) bool {
	return r.Object(func(name []byte) (ok bool) {
		switch string(name) {
		case "index":
			var n int64
			n, ok = r.Int()
			index := int(n)
			c.Index = &index
		case "id":
			c.ID, ok = r.String()
		case "type":
			return r.Skip()
		case "function":
			if c.Function != nil {
				return false
			}
			f := new(CallFunction)
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
			if c.Function != nil { // a second one would be merged into it
				return false
			}
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

// UnmarshalJSONFrom reads counts, those of OpenAI's usage without reflection.
func (u *Usage) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() == '{' {
		*u = Usage{}
		if r := plain.At(dec); u.read(&r) {
			return dec.SkipValue() // which checks what has been read
		}
	}
	type object Usage
	*u = Usage{}
	return json.UnmarshalDecode(dec, (*object)(u))
}

func (u *Usage) read(r *plain.Reader) bool {
	count := func(to *Count) bool {
		n, ok := r.Int()
		if *to = Count(n); n >= 1<<53 {
			return false
		}
		return ok
	}
	some := func(to **Count) bool {
		*to = new(Count)
		return count(*to)
	}
	return r.Object(func(name []byte) bool {
		switch string(name) {
		case "prompt_tokens":
			return count(&u.PromptTokens)
		case "completion_tokens":
			return count(&u.CompletionTokens)
		case "total_tokens":
			return count(&u.TotalTokens)
		case "prompt_tokens_details":
			d := new(PromptDetails)
			if u.PromptTokensDetails != nil { // a second one would be merged into it
				return false
			}
			u.PromptTokensDetails = d
			return r.Object(func(name []byte) bool {
				switch string(name) {
				case "cached_tokens":
					return some(&d.CachedTokens)
				case "cache_write_tokens":
					return some(&d.CacheWriteTokens)
				case "audio_tokens":
					return count(&d.AudioTokens)
				}
				return false
			})
		case "completion_tokens_details":
			d := new(CompletionDetails)
			if u.CompletionTokensDetails != nil {
				return false
			}
			u.CompletionTokensDetails = d
			return r.Object(func(name []byte) bool {
				switch string(name) {
				case "reasoning_tokens":
					return some(&d.ReasoningTokens)
				case "audio_tokens":
					return count(&d.AudioTokens)
				case "accepted_prediction_tokens":
					return count(&d.AcceptedPredictionTokens)
				case "rejected_prediction_tokens":
					return count(&d.RejectedPredictionTokens)
				}
				return false
			})
		}
		return false
	})
}
