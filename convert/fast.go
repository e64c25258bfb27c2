package convert

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/internal/plain"
	"github.com/labiium/chat2response/convert/responses"
)

// Nearly all events of a stream differ from the one before only in a few
// characters of text. What is here recognises them without decoding them; for
// anything else it says no, and the decoder has its turn.

// pattern is a chunk of a Chat stream without its text. A chunk of the same bytes
// around another JSON string is the same chunk with another text. OpenAI's have a
// second string of no meaning, obfuscation, which hides the length of the first.
type pattern struct {
	head, tail []byte // up to the opening quote, and from the closing one on
	pad        []byte // the end of the chunk, behind the obfuscation, if there is one
	buf        []byte
}

// text is the text of a chunk that fits.
func (t *pattern) text(data []byte) (string, bool) {
	from := len(t.head)
	if from == 0 || len(data) < from || !bytes.Equal(data[:from], t.head) {
		return "", false
	}
	end := len(data) - len(t.tail)
	if t.pad == nil {
		if end < from || !bytes.Equal(data[end:], t.tail) {
			return "", false
		}
	} else {
		length := plain.End(data[from:])
		if end = from + length; length < 0 || !bytes.HasPrefix(data[end:], t.tail) {
			return "", false
		}
		noise, ok := bytes.CutSuffix(data[end+len(t.tail):], t.pad)
		if !ok || bytes.IndexByte(noise, '"') >= 0 || bytes.IndexByte(noise, '\\') >= 0 {
			return "", false
		}
	}
	raw := data[from:end]
	if bytes.IndexByte(raw, '\\') < 0 && bytes.IndexByte(raw, '"') < 0 {
		return string(raw), true
	}
	// With its quotes, which are the last byte of head and the first of tail.
	var err error
	if t.buf, err = jsontext.AppendUnquote(t.buf[:0], data[from-1:end+1]); err != nil {
		return "", false
	}
	return string(t.buf), true
}

// numbered is a pattern behind a sequence number, which is another each time: a delta
// event of a Responses stream, and the part of the answer that it is about.
type numbered struct {
	before []byte // up to the number
	pattern
	rung *rung // nil where there is no pattern
	part *rungPart
}

// text is the text of an event that fits.
func (n *numbered) text(data []byte) (string, bool) {
	if n.rung == nil || !bytes.HasPrefix(data, n.before) {
		return "", false
	}
	data = data[len(n.before):]
	count := digits(data)
	if count == 0 {
		return "", false
	}
	return n.pattern.text(data[count:])
}

// learn makes the pattern of an event that scanDelta has read.
func (n *numbered) learn(data []byte, r *rung, p *rungPart) {
	const key = `"sequence_number":`
	n.rung = nil
	at := bytes.Index(data, []byte(key))
	if at < 0 || bytes.Contains(data[:at], []byte(`"delta"`)) {
		return
	}
	at += len(key)
	n.before = append(n.before[:0], data[:at]...)
	rest := data[at:]
	count := digits(rest)
	if n.pattern.learn(rest[count:], "delta"); count > 0 && len(n.head) > 0 {
		n.rung, n.part = r, p
	}
}

// digits is how many bytes of b are a number.
func digits(b []byte) int {
	n := 0
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	return n
}

// learn makes the pattern of a chunk whose only content is the string member
// name. The name must stand in the chunk once.
func (t *pattern) learn(data []byte, name string) {
	t.head, t.tail, t.pad = t.head[:0], t.tail[:0], nil
	from, to, ok := member(data, name)
	if !ok {
		return
	}
	t.head = append(t.head, data[:from]...)
	t.tail = append(t.tail, data[to:]...)
	if from, to, ok := member(t.tail, "obfuscation"); ok {
		t.pad = bytes.Clone(t.tail[to:])
		t.tail = t.tail[:from]
	}
}

// member is where the string member name stands in a JSON object, between its
// quotes, if that is once.
func member(data []byte, name string) (from, to int, ok bool) {
	key := []byte(`"` + name + `"`)
	at := bytes.Index(data, key)
	if at < 0 || bytes.Contains(data[at+len(key):], key) {
		return 0, 0, false
	}
	at += len(key)
	for at < len(data) && (data[at] == ' ' || data[at] == ':') {
		at++
	}
	if at == len(data) || data[at] != '"' {
		return 0, 0, false
	}
	end := plain.End(data[at+1:])
	return at + 1, at + 1 + end, end >= 0
}

// plainText tells of a chunk that holds a piece of text and nothing else.
func plainText(a *chat.Answer) bool {
	if len(a.Choices) != 1 || !a.Usage.IsZero() || a.XGroq != nil || a.Error != nil || a.Object == "error" {
		return false
	}
	c := &a.Choices[0]
	if c.Index != 0 || c.Message != nil || c.FinishReason != "" || !c.Logprobs.IsZero() || !c.Usage.IsZero() || c.Delta == nil {
		return false
	}
	d := c.Delta
	return d.Content.IsText() && d.Content.Text != "" && d.Refusal == "" && d.ReasoningContent.IsZero() && d.Reasoning.IsZero() &&
		d.ReasoningDetails == nil && d.ToolCalls == nil && d.FunctionCall == nil && d.Annotations == nil && d.Audio == nil
}

// deltaTypes are the events that scanDelta reads.
var deltaTypes = []string{
	responses.EventTextDelta, responses.EventArgumentsDelta, responses.EventSummaryDelta,
	responses.EventReasoningDelta, responses.EventInputDelta, responses.EventRefusalDelta,
}

// scanDelta reads a delta event of a Responses stream that has no members but
// those of its type, and no log probabilities. e keeps its ItemID where it is the
// same.
func scanDelta(b []byte, e *responses.Event) bool {
	itemID := e.ItemID
	*e = responses.Event{}
	delta := false
	if len(b) < 2 || b[0] != '{' {
		return false
	}
	b = b[1:]
	for {
		name, rest, ok := plainString(b)
		if !ok || len(rest) == 0 || rest[0] != ':' {
			return false
		}
		b = rest[1:]
		switch string(name) {
		case "type":
			var typ []byte
			if typ, b, ok = plainString(b); !ok {
				return false
			}
			for _, t := range deltaTypes {
				if string(typ) == t {
					e.Type = t
				}
			}
		case "item_id":
			var id []byte
			if id, b, ok = plainString(b); !ok {
				return false
			}
			if string(id) != itemID {
				itemID = string(id)
			}
			e.ItemID = itemID
		case "delta":
			if len(b) == 0 || b[0] != '"' {
				return false
			}
			end := plain.End(b[1:])
			if end < 0 {
				return false
			}
			raw := b[1 : 1+end]
			if bytes.IndexByte(raw, '\\') < 0 {
				e.Delta = string(raw)
			} else {
				text, err := jsontext.AppendUnquote(nil, b[:end+2])
				if err != nil {
					return false
				}
				e.Delta = string(text)
			}
			b, delta = b[end+2:], true
		case "obfuscation":
			if _, b, ok = plainString(b); !ok {
				return false
			}
		case "logprobs":
			if b, ok = bytes.CutPrefix(b, []byte("[]")); !ok {
				return false
			}
		case "sequence_number", "output_index", "content_index", "summary_index":
			n := digits(b)
			v, err := strconv.Atoi(string(b[:n]))
			if err != nil {
				return false
			}
			b = b[n:]
			switch string(name) {
			case "output_index":
				e.OutputIndex = v
			case "content_index":
				e.ContentIndex = v
			case "summary_index":
				e.SummaryIndex = v
			}
		default:
			return false
		}
		switch {
		case len(b) == 1 && b[0] == '}':
			return e.Type != "" && delta
		case len(b) > 1 && b[0] == ',':
			b = b[1:]
		default:
			return false
		}
	}
}

// plainString reads a JSON string without escapes.
func plainString(b []byte) (s, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, false
	}
	end := bytes.IndexByte(b[1:], '"')
	if end < 0 || bytes.IndexByte(b[1:1+end], '\\') >= 0 {
		return nil, nil, false
	}
	return b[1 : 1+end], b[end+2:], true
}
