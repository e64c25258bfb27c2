package convert

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/internal/plain"
	"github.com/labiium/chat2response/convert/responses"
)

// What an upstream sends behind `data:` is an event of its API, the word [DONE], or a remark of a server or a proxy.
// An event that arrived damaged may have had text in it, and an answer without it must not look whole: it fails. What
// is here tells a damaged event from a remark.

// notJSON fails an answer of which an event was torn.
var notJSON = &Error{Status: 502, Type: "server_error", Code: "server_error", Message: "The upstream sent an event that is not JSON."}

// unreadableEvent fails one of which an event is JSON, and of another shape than its API's.
var unreadableEvent = &Error{Status: 502, Type: "server_error", Code: "server_error", Message: "The upstream sent an event that could not be read."}

// isDone reports whether an event's data is the word that ends a stream.
func isDone(data []byte) bool { return string(bytes.TrimSpace(data)) == "[DONE]" }

// looksLikeJSON reports whether data is an object or a list, or was one before its first or its last byte changed.
func looksLikeJSON(data []byte) bool {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return false
	}
	switch data[0] {
	case '{', '[':
		return true
	}
	last := data[len(data)-1]
	return (last == '}' || last == ']') && bytes.IndexByte(data, '"') >= 0
}

// isTorn reports whether data is a piece of an event. It fails an answer when more of the stream comes behind it; at
// its end it is what a cut leaves, and the answer is judged by what came before.
func isTorn(data []byte) bool { return looksLikeJSON(data) && !jsontext.Value(data).IsValid(lenient) }

// lost reports whether valid JSON that is no event may have been one of the shape: a list with an object in it, or a
// damaged object. Other values are remarks.
func (s *shape) lost(data []byte) bool {
	switch jsontext.Value(data).Kind() {
	case '[':
		return bytes.IndexByte(data, '{') >= 0
	case '{':
		return s.damaged(data)
	}
	return false
}

// remark counts an event that was passed over.
func (o *Options) remark() {
	if o.remarks != nil {
		*o.remarks++
	}
}

// shape is where the text of an API's events is: the members that hold it, by name, and those of them that are objects
// or lists of some.
type shape struct {
	names []string
	inner map[string]bool
}

// chunkShape is that of a Chat chunk, eventShape that of an event of Responses.
var (
	chunkShape = &shape{
		[]string{
			"choices", "delta", "message", "content", "refusal", "reasoning_content", "reasoning", "reasoning_details",
			"tool_calls", "function_call", "function", "arguments", "custom", "input", "name", "text",
		},
		map[string]bool{"choices": true, "delta": true, "message": true, "content": true, "tool_calls": true, "function_call": true, "function": true, "custom": true},
	}
	eventShape = &shape{
		[]string{"type", "delta", "text", "refusal", "arguments", "input", "item", "part", "response", "output", "content", "summary", "name"},
		map[string]bool{"item": true, "part": true, "response": true, "output": true, "content": true, "summary": true},
	}
)

// damaged reports whether an object of a shape, or one in it that holds its text, has a member whose name is one of the
// shape's but for one byte. No server has such a member, and one that has lost the name of its text would be passed
// over as an extension. data is valid JSON.
func (s *shape) damaged(data []byte) bool {
	for i := 0; i < len(data); i++ {
		if data[i] != '"' {
			continue
		}
		end := plain.End(data[i+1:])
		if end < 0 {
			return false
		}
		name := data[i+1 : i+1+end]
		i += end + 2
		for i < len(data) && isSpace(data[i]) {
			i++
		}
		if i == len(data) || data[i] != ':' {
			i-- // a value
			continue
		}
		if bytes.IndexByte(name, '\\') >= 0 {
			return true // no server writes one of an API's names so
		}
		for _, known := range s.names {
			if oneOff(name, known) {
				return true
			}
		}
		if s.inner[string(name)] {
			continue
		}
		for i++; i < len(data) && isSpace(data[i]); i++ {
		}
		if i < len(data) && (data[i] == '{' || data[i] == '[') {
			i += skipped(data[i:])
		}
		i--
	}
	return false
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// skipped is the length of the object or list that data begins with.
func skipped(data []byte) int {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			end := plain.End(data[i+1:])
			if end < 0 {
				return len(data)
			}
			i += end + 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(data)
}

// readTypes are the types of the events that say something and that this program reads.
var readTypes = func() []string {
	types := []string{
		responses.EventCompleted, responses.EventIncomplete, responses.EventFailed, responses.EventItemAdded, responses.EventItemDone,
		responses.EventPartAdded, responses.EventPartDone, responses.EventArgumentsDone, responses.EventInputDone,
	}
	types = append(types, deltaTypes...)
	return append(types, sortedKeys(partOf)...)
}()

// damagedItem reports whether the type of an item is one of the API's but for one byte.
func damagedItem(typ string) bool {
	if prefixes[typ] != "" {
		return false
	}
	for known := range prefixes {
		if oneOff([]byte(typ), known) {
			return true
		}
	}
	return false
}

// damagedType reports whether the type of an event is one of those but for one byte.
func damagedType(typ string) bool {
	if responses.Known(typ) {
		return false
	}
	for _, known := range readTypes {
		if oneOff([]byte(typ), known) {
			return true
		}
	}
	return false
}

// oneOff reports whether name is known but for one byte.
func oneOff(name []byte, known string) bool {
	if len(name) != len(known) {
		return false
	}
	off := 0
	for i := range name {
		if name[i] != known[i] {
			if off++; off > 1 {
				return false
			}
		}
	}
	return off == 1
}
