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
