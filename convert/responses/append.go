package responses

import (
	"strconv"

	"github.com/go-json-experiment/json"

	"github.com/labiium/chat2response/convert/internal/plain"
)

// Append appends the request as JSON, its items without reflection.
func (r *Request) Append(b []byte) ([]byte, error) {
	if len(r.Input) == 0 {
		return appendJSON(b, r)
	}
	head := *r
	head.Input = nil
	rest, err := json.Marshal(&head, marshalOptions)
	if err != nil {
		return b, err
	}
	w := plain.Writer{B: b}
	w.Open()
	w.Some("model", r.Model)
	at := len(w.B) - len(b) // where the input's place is in rest
	w.Name("input")
	if w.B, err = appendItems(w.B, r.Input); err != nil {
		return b, err
	}
	if at == 1 && len(rest) > len("{}") {
		w.B = append(w.B, ',')
	}
	return append(w.B, rest[at:]...), nil
}

func appendItems(b []byte, items []Item) (_ []byte, err error) {
	b = append(b, '[')
	for i := range items {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = items[i].Append(b); err != nil {
			return b, err
		}
	}
	return append(b, ']'), nil
}

// ordinary tells of an item that has no members but those that Append writes itself.
func (i *Item) ordinary() bool {
	return i.Action == nil && i.Operation == nil && i.Execution == "" && i.Caller == nil && i.EncryptedFunctionArgs == nil &&
		i.ServerLabel == "" && i.Error == nil && i.Tools == nil && i.Reasoning == nil && i.Text == nil && i.Unknown == nil &&
		i.Arguments.Raw == nil && i.Output.Raw == nil
}

// Append appends the item as JSON on one line, the common members without
// reflection.
func (i *Item) Append(b []byte) (_ []byte, err error) {
	if i == nil || !i.ordinary() {
		return appendJSON(b, i)
	}
	w := plain.Writer{B: b}
	w.Open()
	w.Some("type", i.Type)
	w.Some("id", i.ID)
	w.Some("status", i.Status)
	w.Some("role", i.Role)
	if i.Content.IsText() {
		w.String("content", i.Content.Text)
	} else if i.Content.Parts != nil {
		w.Name("content")
		if w.B, err = appendParts(w.B, i.Content.Parts); err != nil {
			return b, err
		}
	}
	w.Some("phase", i.Phase)
	if i.Summary != nil {
		w.Name("summary")
		if w.B, err = appendParts(w.B, i.Summary); err != nil {
			return b, err
		}
	}
	w.Some("encrypted_content", i.EncryptedContent)
	w.Some("call_id", i.CallID)
	w.Some("name", i.Name)
	w.Some("namespace", i.Namespace)
	if i.Arguments.IsText() {
		w.String("arguments", i.Arguments.Text)
	}
	if i.Input != nil {
		w.String("input", *i.Input)
	}
	if i.Output.IsText() {
		w.String("output", i.Output.Text)
	}
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

// Append appends the part as JSON on one line, the common members without
// reflection.
func (p *Part) Append(b []byte) ([]byte, error) {
	if p == nil || p.FileID != "" || p.FileData != "" || p.FileURL != "" || p.Filename != "" || p.InputAudio != nil || p.CacheBreakpoint != nil ||
		len(p.Annotations) > 0 || len(p.Logprobs) > 0 || p.Unknown != nil {
		return appendJSON(b, p)
	}
	w := plain.Writer{B: b}
	w.Open()
	w.String("type", p.Type)
	if p.Text != nil {
		w.String("text", *p.Text)
	}
	if p.Refusal != nil {
		w.String("refusal", *p.Refusal)
	}
	w.Some("image_url", p.ImageURL)
	w.Some("detail", p.Detail)
	if p.Annotations != nil {
		w.Name("annotations")
		w.B = append(w.B, "[]"...)
	}
	if p.Logprobs != nil {
		w.Name("logprobs")
		w.B = append(w.B, "[]"...)
	}
	w.Close()
	return w.B, nil
}

// Append appends the counts as JSON on one line, or null for none.
func (u *Usage) Append(b []byte) ([]byte, error) {
	if u == nil || u.Unknown != nil || u.InputTokensDetails.Unknown != nil || u.OutputTokensDetails.Unknown != nil {
		return appendJSON(b, u)
	}
	b = strconv.AppendInt(append(b, `{"input_tokens":`...), u.InputTokens, 10)
	b = strconv.AppendInt(append(b, `,"input_tokens_details":{"cached_tokens":`...), u.InputTokensDetails.CachedTokens, 10)
	b = strconv.AppendInt(append(b, `,"cache_write_tokens":`...), u.InputTokensDetails.CacheWriteTokens, 10)
	b = strconv.AppendInt(append(b, `},"output_tokens":`...), u.OutputTokens, 10)
	b = strconv.AppendInt(append(b, `,"output_tokens_details":{"reasoning_tokens":`...), u.OutputTokensDetails.ReasoningTokens, 10)
	b = strconv.AppendInt(append(b, `},"total_tokens":`...), u.TotalTokens, 10)
	return append(b, '}'), nil
}

// Append appends the response as JSON on one line, the common members without
// reflection.
func (x *Response) Append(b []byte) (_ []byte, err error) {
	if x == nil || x.Output == nil || x.Echo != nil && x.Echo.Kind() != '{' {
		return appendJSON(b, x)
	}
	w := plain.Writer{B: b}
	w.Open()
	w.String("id", x.ID)
	w.String("object", x.Object)
	w.Name("created_at")
	w.B = strconv.AppendInt(w.B, int64(x.CreatedAt), 10)
	w.Name("completed_at")
	if x.CompletedAt != nil {
		w.B = strconv.AppendInt(w.B, int64(*x.CompletedAt), 10)
	} else {
		w.B = append(w.B, "null"...)
	}
	w.String("status", x.Status)
	any := func(name string, v any, none bool) {
		w.Name(name)
		if none {
			w.B = append(w.B, "null"...)
		} else if err == nil {
			w.B, err = appendJSON(w.B, v)
		}
	}
	any("error", x.Error, x.Error == nil)
	any("incomplete_details", x.IncompleteDetails, x.IncompleteDetails == nil)
	w.String("model", x.Model)
	w.Name("output")
	if err == nil {
		w.B, err = appendItems(w.B, x.Output)
	}
	w.Name("usage")
	if err == nil {
		w.B, err = x.Usage.Append(w.B)
	}
	w.Some("service_tier", x.ServiceTier)
	if err != nil {
		return b, err
	}
	w.Members(x.Echo)
	w.Close()
	return w.B, nil
}
