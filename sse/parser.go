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
	// borrowed is data that still lies in the slice given to Feed. Most events
	// have one data line in one network read, and are never copied.
	borrowed []byte
}

// Feed parses b and calls fn once for each event that b completes. An error of
// fn stops the parsing and is returned as it is.
func (p *Parser) Feed(b []byte, fn func(Event) error) error {
	if len(b) == 0 {
		return nil
	}
	limit := p.MaxEvent
	if limit <= 0 {
		limit = DefaultMaxEvent
	}
	if p.skipLF {
		p.skipLF = false
		if b[0] == '\n' {
			b = b[1:]
		}
	}
	for len(b) > 0 {
		end := lineEnd(b)
		if end < 0 {
			if len(p.line)+len(b) > limit {
				return ErrTooLarge
			}
			p.line = append(p.line, b...)
			break
		}
		line := b[:end]
		last := b[end]
		b = b[end+1:]
		if last == '\r' {
			if len(b) == 0 {
				p.skipLF = true
			} else if b[0] == '\n' {
				b = b[1:]
			}
		}
		if len(p.line)+len(line) > limit {
			return ErrTooLarge
		}
		if len(p.line) > 0 {
			p.keep()
			p.line = append(p.line, line...)
			line = p.line
		}
		err := p.take(line, limit, fn)
		if len(p.line) > 0 {
			p.keep()
			p.line = p.line[:0]
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
	limit := p.MaxEvent
	if limit <= 0 {
		limit = DefaultMaxEvent
	}
	if len(p.line) > 0 {
		line := p.line
		p.line = nil
		if err := p.take(line, limit, fn); err != nil {
			return err
		}
	}
	return p.dispatch(fn)
}

// lineEnd is the index of the first CR or LF, or -1.
func lineEnd(b []byte) int {
	lf := bytes.IndexByte(b, '\n')
	head := b
	if lf >= 0 {
		head = b[:lf]
	}
	if cr := bytes.IndexByte(head, '\r'); cr >= 0 {
		return cr
	}
	return lf
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
			return ErrTooLarge
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
	p.data, p.typ = p.data[:0], p.typ[:0]
	if cap(p.data) > 1<<20 {
		p.data = nil
	}
	return err
}
