// Package sse reads and writes server-sent events as the WHATWG HTML standard
// defines them (§9.2, "Server-sent events").
//
// The [Parser] is pushed: bytes go in as they arrive and whole events come out
// of a callback, so a proxy needs neither a goroutine nor a pipe per stream.
// The [Writer] only ever sends whole events.
package sse

import (
	"bytes"
	"errors"
)

// DefaultMaxEvent is the size in bytes above which a [Parser] gives up on an
// event. A `response.completed` event repeats the whole answer, so it is
// generous.
const DefaultMaxEvent = 16 << 20

// ErrTooLarge is what [Parser.Feed] returns for an event, or a line without an
// end, of more than [Parser.MaxEvent] bytes.
var ErrTooLarge = errors.New("sse: event is larger than the limit")

// Event is one dispatched event. Its slices are valid only until the callback
// returns.
type Event struct {
	// Type is the value of the `event` field, empty for a plain message.
	Type []byte
	// Data is the `data` lines joined by line feeds, without the last one.
	Data []byte
}

// Parser splits a byte stream into events, wherever the stream is cut. It takes
// LF, CR and CRLF line ends, a leading byte order mark, comments, several data
// lines an event, and a last event whose blank line never came ([Parser.Close]).
// The `id` and `retry` fields are ignored: no OpenAI stream can be resumed by
// them.
//
// The zero value is ready to use. A Parser is not safe for concurrent use.
type Parser struct {
	// MaxEvent is the limit in bytes of one event's data and of one line.
	// Default: [DefaultMaxEvent].
	MaxEvent int

	line    []byte // the beginning of a line whose end has not come
	data    []byte // the data lines of the open event, each behind its LF
	typ     []byte // the event field of the open event
	hasData bool
	started bool // the byte order mark, if any, is behind us
	skipLF  bool // the last byte was CR: an LF now belongs to it
	failed  bool // an event was too large
	// borrowed is data that still lies in the slice given to Feed. Most events
	// have one data line in one network read, and are never copied.
	borrowed []byte
}

// Feed parses b and calls fn once for each event that b completes. An error of
// fn stops the parsing and is returned as it is. Behind [ErrTooLarge] the stream
// cannot be understood any more: Feed goes on returning it.
func (p *Parser) Feed(b []byte, fn func(Event) error) error {
	if p.failed {
		return ErrTooLarge
	}
	if p.skipLF && len(b) > 0 {
		p.skipLF = false
		if b[0] == '\n' {
			b = b[1:]
		}
	}
	limit := p.limit()
	// The next LF is looked for once, not for each CR before it.
	lf := -1
	for at := 0; at < len(b); {
		if lf < at {
			lf = indexFrom(b, at, '\n')
		}
		end := lf
		if cr := bytes.IndexByte(b[at:lf], '\r'); cr >= 0 {
			end = at + cr
		}
		if len(p.line)+end-at > limit {
			return p.fail()
		}
		if end == len(b) {
			p.line = append(p.line, b[at:]...)
			break
		}
		line := b[at:end]
		at = end + 1
		if b[end] == '\r' {
			if at == len(b) {
				p.skipLF = true
			} else if b[at] == '\n' {
				at++
			}
		}
		if len(p.line) > 0 {
			p.line = append(p.line, line...)
			line = p.line
		}
		err := p.take(line, limit, fn)
		if len(p.line) > 0 {
			p.keep()
			p.line = emptied(p.line)
		}
		if err != nil {
			return err
		}
	}
	p.keep()
	return nil
}

// Close ends the stream: an event whose final blank line is missing is
// dispatched. (A browser would discard it; model servers that omit it exist,
// and half an event is not valid JSON anyway.)
func (p *Parser) Close(fn func(Event) error) error {
	if p.failed {
		return nil
	}
	if len(p.line) > 0 {
		line := p.line
		p.line = nil
		if err := p.take(line, p.limit(), fn); err != nil {
			return err
		}
	}
	return p.dispatch(fn)
}

func (p *Parser) limit() int {
	if p.MaxEvent <= 0 {
		return DefaultMaxEvent
	}
	return p.MaxEvent
}

func (p *Parser) fail() error {
	*p = Parser{MaxEvent: p.MaxEvent, failed: true}
	return ErrTooLarge
}

// indexFrom is the index of the first c in b from at on, or the length of b.
func indexFrom(b []byte, at int, c byte) int {
	if i := bytes.IndexByte(b[at:], c); i >= 0 {
		return at + i
	}
	return len(b)
}

// emptied is b for use again, unless one large event has made it so big that an
// idle stream should not keep it.
func emptied(b []byte) []byte {
	if cap(b) > 64<<10 {
		return nil
	}
	return b[:0]
}

var bom = []byte("\xef\xbb\xbf")

func (p *Parser) take(line []byte, limit int, fn func(Event) error) error {
	if !p.started {
		p.started = true
		line = bytes.TrimPrefix(line, bom)
	}
	if len(line) == 0 {
		return p.dispatch(fn)
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	switch string(name) {
	case "data":
		if !p.hasData {
			p.hasData = true
			p.borrowed = value
			return nil
		}
		p.keep()
		if len(p.data)+1+len(value) > limit {
			return p.fail()
		}
		p.data = append(append(p.data, '\n'), value...)
	case "event":
		p.typ = append(p.typ[:0], value...)
	}
	return nil
}

// keep copies data that lies in memory which is about to be reused.
func (p *Parser) keep() {
	if p.borrowed != nil {
		p.data = append(p.data[:0], p.borrowed...)
		p.borrowed = nil
	}
}

func (p *Parser) dispatch(fn func(Event) error) error {
	if !p.hasData {
		p.typ = p.typ[:0]
		return nil
	}
	e := Event{Type: p.typ, Data: p.data}
	if p.borrowed != nil {
		e.Data = p.borrowed
	}
	p.hasData, p.borrowed = false, nil
	err := fn(e)
	p.data, p.typ = emptied(p.data), emptied(p.typ)
	return err
}
