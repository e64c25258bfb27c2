package responses

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/internal/plain"
)

// UnmarshalJSONFrom reads an item. One of the common members in their common form is
// read without reflection.
func (i *Item) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() == '{' {
		*i = Item{}
		if r := plain.At(dec); i.read(&r) {
			return dec.SkipValue() // which checks what has been read
		}
	}
	type object Item
	*i = Item{}
	return json.UnmarshalDecode(dec, (*object)(i))
}

var (
	itemTypes = []string{
		"message", "function_call", "function_call_output", "reasoning", "custom_tool_call", "custom_tool_call_output",
	}
	statuses  = []string{Completed, InProgress, Incomplete}
	roles     = []string{"user", "assistant", "developer", "system"}
	partTypes = []string{"input_text", "output_text", "summary_text", "reasoning_text", "input_image", "refusal"}
)

func (i *Item) read(r *plain.Reader) bool {
	return r.Object(func(name []byte) (ok bool) {
		if r.Next() == 'n' {
			return false
		}
		switch string(name) {
		case "type":
			i.Type, ok = r.Word(itemTypes...)
		case "id":
			i.ID, ok = r.String()
		case "status":
			i.Status, ok = r.Word(statuses...)
		case "role":
			i.Role, ok = r.Word(roles...)
		case "content":
			if r.Next() == '"' {
				var text string
				text, ok = r.String()
				i.Content = Text(text)
				break
			}
			var parts []Part
			parts, ok = readParts(r)
			i.Content = Parts(parts...)
		case "phase":
			i.Phase, ok = r.String()
		case "summary":
			i.Summary, ok = readParts(r)
		case "encrypted_content":
			i.EncryptedContent, ok = r.String()
		case "call_id":
			i.CallID, ok = r.String()
		case "name":
			i.Name, ok = r.String()
		case "namespace":
			i.Namespace, ok = r.String()
		case "arguments":
			var text string
			text, ok = r.String()
			i.Arguments = String(text)
		case "input":
			var text string
			text, ok = r.String()
			i.Input = &text
		case "output":
			var text string
			text, ok = r.String()
			i.Output = String(text)
		}
		return ok
	})
}

// UnmarshalJSONFrom reads a response. One of the common members in their common form
// is read without reflection.
func (x *Response) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() == '{' {
		*x = Response{}
		if r := plain.At(dec); x.read(&r) {
			return dec.SkipValue() // which checks what has been read
		}
	}
	type object Response
	*x = Response{}
	return json.UnmarshalDecode(dec, (*object)(x))
}

func (x *Response) read(r *plain.Reader) bool {
	read := r.Object(func(name []byte) (ok bool) {
		null := r.Next() == 'n'
		switch string(name) {
		case "id":
			x.ID, ok = r.String()
		case "object":
			x.Object, ok = r.Word("response")
		case "created_at":
			var at int64
			at, ok = r.Int()
			x.CreatedAt = Seconds(at)
		case "completed_at":
			if x.CompletedAt = nil; null {
				return r.Null()
			}
			var at int64
			at, ok = r.Int()
			x.CompletedAt = (*Seconds)(&at)
		case "status":
			x.Status, ok = r.Word(statuses...)
		case "error":
			return null && x.Error == nil && r.Null()
		case "incomplete_details":
			return null && x.IncompleteDetails == nil && r.Null()
		case "model":
			x.Model, ok = r.String()
		case "output":
			x.Output = []Item{}
			ok = r.List(func() bool {
				var i Item
				if !i.read(r) {
					return false
				}
				x.Output = append(x.Output, i)
				return true
			})
		case "usage":
			if x.Usage != nil { // a second one would be merged into it
				return false
			}
			if null {
				return r.Null()
			}
			x.Usage = new(Usage)
			ok = x.Usage.read(r)
		case "service_tier":
			if x.ServiceTier = ""; null {
				return r.Null()
			}
			x.ServiceTier, ok = r.Word("default", "auto")
		default:
			var value []byte
			if value, ok = r.Raw(); !ok {
				return false
			}
			if x.Echo == nil {
				x.Echo = append(make(jsontext.Value, 0, 1<<10), '{')
			} else {
				x.Echo = append(x.Echo, ',')
			}
			x.Echo = append(append(append(x.Echo, '"'), name...), '"', ':')
			x.Echo = append(x.Echo, value...)
		}
		return ok
	})
	if x.Echo != nil {
		x.Echo = append(x.Echo, '}')
	}
	return read
}

func (u *Usage) read(r *plain.Reader) bool {
	return r.Object(func(name []byte) (ok bool) {
		switch string(name) {
		case "input_tokens":
			u.InputTokens, ok = r.Int()
		case "input_tokens_details":
			ok = r.Object(func(name []byte) (ok bool) {
				switch string(name) {
				case "cached_tokens":
					u.InputTokensDetails.CachedTokens, ok = r.Int()
				case "cache_write_tokens":
					u.InputTokensDetails.CacheWriteTokens, ok = r.Int()
				}
				return ok
			})
		case "output_tokens":
			u.OutputTokens, ok = r.Int()
		case "output_tokens_details":
			ok = r.Object(func(name []byte) (ok bool) {
				if string(name) == "reasoning_tokens" {
					u.OutputTokensDetails.ReasoningTokens, ok = r.Int()
				}
				return ok
			})
		case "total_tokens":
			u.TotalTokens, ok = r.Int()
		}
		return ok
	})
}

// UnmarshalJSONFrom reads an event. One of the common members in their common form is
// read without reflection.
func (e *Event) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() == '{' {
		*e = Event{}
		if r := plain.At(dec); e.read(&r) {
			return dec.SkipValue() // which checks what has been read
		}
	}
	type object Event
	*e = Event{}
	return json.UnmarshalDecode(dec, (*object)(e))
}

func (e *Event) read(r *plain.Reader) bool {
	index := func(to *int) bool {
		n, ok := r.Int()
		*to = int(n)
		return ok
	}
	return r.Object(func(name []byte) (ok bool) {
		if r.Next() == 'n' {
			return false
		}
		switch string(name) {
		case "type":
			e.Type, ok = r.String()
		case "sequence_number":
			e.SequenceNumber, ok = r.Int()
		case "item_id":
			e.ItemID, ok = r.String()
		case "output_index":
			ok = index(&e.OutputIndex)
		case "content_index":
			ok = index(&e.ContentIndex)
		case "summary_index":
			ok = index(&e.SummaryIndex)
		case "delta":
			e.Delta, ok = r.String()
		case "text":
			e.Text, ok = r.String()
		case "refusal":
			e.Refusal, ok = r.String()
		case "arguments":
			e.Arguments, ok = r.String()
		case "input":
			e.Input, ok = r.String()
		case "item":
			e.Item = new(Item)
			ok = e.Item.read(r)
		case "part":
			if e.Part == nil { // a second one would be merged into it
				e.Part = new(Part)
				ok = e.Part.read(r)
			}
		case "logprobs":
			e.Logprobs, ok = []Logprob{}, r.Empty()
		case "response":
			e.Response = new(Response)
			ok = e.Response.read(r)
		case "obfuscation":
			ok = r.Skip()
		}
		return ok
	})
}

func readParts(r *plain.Reader) ([]Part, bool) {
	parts := []Part{}
	ok := r.List(func() bool {
		var p Part
		if !p.read(r) {
			return false
		}
		parts = append(parts, p)
		return true
	})
	return parts, ok
}

func (p *Part) read(r *plain.Reader) bool {
	return r.Object(func(name []byte) (ok bool) {
		if r.Next() == 'n' {
			return false
		}
		switch string(name) {
		case "type":
			p.Type, ok = r.Word(partTypes...)
		case "text":
			var text string
			text, ok = r.String()
			p.Text = &text
		case "refusal":
			var text string
			text, ok = r.String()
			p.Refusal = &text
		case "image_url":
			p.ImageURL, ok = r.String()
		case "detail":
			p.Detail, ok = r.Word("auto", "low", "high")
		case "annotations":
			p.Annotations, ok = []Annotation{}, r.Empty()
		case "logprobs":
			p.Logprobs, ok = []Logprob{}, r.Empty()
		}
		return ok
	})
}
