//go:build unix

package main

import (
	"fmt"
	"time"
)

// api is one of the two protocols.
type api string

const (
	chat      api = "chat"
	responses api = "responses"
)

var paths = map[api]string{chat: "/v1/chat/completions", responses: "/v1/responses"}

// The client's name for the model, and the upstream's where there is an alias.
const (
	clientModel   = "bench"
	upstreamModel = "bench-upstream"
)

// ask is one kind of request. The client names it in the header
// X-Client-Request-Id, which every gateway lets through, so that the upstream
// knows the answer without reading the body.
type ask struct {
	name string
	size int // of the request body in bytes, about; 0: as short as it gets

	events   int           // of text in the answer; 0: the answer is not a stream
	perWrite int           // how many of them the upstream sends in one write
	gap      time.Duration // between them; their text is the time then
	hold     bool          // the stream stays open behind them
}

var asks = []*ask{
	{name: "json"},
	{name: "sse50", events: 50, perWrite: 1},
	// What a translated event costs beside the fixed cost of a stream and of a
	// network read: long streams, many events a read.
	{name: "sse2000", events: 2000, perWrite: 32},
	{name: "gap20", events: 20, perWrite: 1, gap: 5 * time.Millisecond},
	{name: "idle", events: 3, perWrite: 1, hold: true},
	{name: "body1k", size: 1 << 10},
	{name: "body60k", size: 60 << 10},
	{name: "body1m", size: 1 << 20},
	{name: "body10m", size: 10 << 20},
}

func askNamed(name string) *ask {
	for _, a := range asks {
		if a.name == name {
			return a
		}
	}
	panic("no ask " + name) // written by programmers
}

// prompt is the text that must reach the upstream.
const prompt = "Count as far as you can."

// requestBody is the body of a request in an API.
func (a *ask) requestBody(in api, model string) []byte {
	if a.size > 4<<10 {
		return turnBody(in, model, a.size)
	}
	system := "You are terse."
	if a.size > 0 {
		system = prose(a.size - 128)
	}
	if in == chat {
		b := fmt.Appendf(nil, `{"model":%s,"messages":[{"role":"system","content":%s},{"role":"user","content":%s}]`, quote(model), quote(system), quote(prompt))
		if a.events > 0 {
			b = append(b, `,"stream":true,"stream_options":{"include_usage":true}`...)
		}
		return append(b, '}')
	}
	b := fmt.Appendf(nil, `{"model":%s,"instructions":%s,"input":%s`, quote(model), quote(system), quote(prompt))
	if a.events > 0 {
		b = append(b, `,"stream":true`...)
	}
	return append(b, '}')
}

// request is the whole HTTP request. more are further members of its body.
func (a *ask) request(in api, addr, more string) []byte {
	body := a.requestBody(in, clientModel)
	body = append(append(body[:len(body)-1], more...), '}')
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\nAuthorization: Bearer none\r\nX-Client-Request-Id: %s\r\n\r\n",
		paths[in], addr, len(body), a.name)
	return append([]byte(head), body...)
}

// text is what the upstream says, where it does not say the time.
func (a *ask) text() string {
	n := a.events
	if n == 0 {
		n = 50
	}
	text := ""
	for i := range n {
		text += token(i)
	}
	return text
}

// words make tokens of the usual length, about four characters.
var words = []string{" the", " quick", " count", " of", " one", " and", " then", " another", ",", " more", " is", " left", ".", " So", " it", " goes"}

func token(i int) string { return words[i%len(words)] }
