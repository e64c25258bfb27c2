package sse

import (
	"bytes"
	"io"
	"sync"
)

// Batch is the most bytes of whole events that a [Writer] gathers for one
// Write; a single event may be larger.
const Batch = 16 << 10

// Writer gathers events and sends them in one Write and one flush each time
// [Writer.Send] is called. Some readers lose an event that two network reads
// divide, so an event is never split between two Writes.
//
// A Writer is not safe for concurrent use.
type Writer struct {
	w     io.Writer
	flush func() error

	// buf holds whole events, then from open on the one being written. It is nil
	// while nothing is gathered: a silent stream holds no memory.
	buf  []byte
	open int
	lent *[]byte // what buf began as, to be given back
}

// buffers are those of all writers.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, Batch+Batch/4)
	return &b
}}

// borrow gets a buffer, if there is none.
func (w *Writer) borrow() {
	if w.buf == nil {
		w.lent = buffers.Get().(*[]byte)
		w.buf = (*w.lent)[:0]
	}
}

// NewWriter returns a Writer on w. flush is called after each Write; it may be
// nil.
func NewWriter(w io.Writer, flush func() error) *Writer {
	return &Writer{w: w, flush: flush}
}

// Event adds an event. typ must be one line; an empty one is left out. data may
// have several lines.
func (w *Writer) Event(typ string, data []byte) error {
	b := w.Begin(typ)
	if bytes.IndexByte(data, '\n') < 0 && bytes.IndexByte(data, '\r') < 0 {
		return w.End(append(b, data...))
	}
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
	return w.End(append(b, bytes.ReplaceAll(data, []byte("\n"), []byte("\ndata: "))...))
}

// Begin opens an event and returns the buffer for its data to be appended to,
// which must then be given to [Writer.End]. What is appended must not contain a
// line end, as compact JSON never does.
func (w *Writer) Begin(typ string) []byte {
	w.borrow()
	w.open = len(w.buf)
	b := w.buf
	if typ != "" {
		b = append(append(append(b, "event: "...), typ...), '\n')
	}
	return append(b, "data: "...)
}

// End closes the event that [Writer.Begin] opened. When the gathered events
// have become more than [Batch] bytes, those before this one are sent.
func (w *Writer) End(b []byte) error {
	w.buf = append(b, "\n\n"...)
	if len(w.buf) <= Batch || w.open == 0 {
		return nil
	}
	whole := w.open
	w.open = 0
	err := w.send(w.buf[:whole])
	w.buf = w.buf[:copy(w.buf, w.buf[whole:])]
	return err
}

// Comment adds a comment line, which every reader ignores: it keeps a silent
// connection from looking dead to what lies between. text must be one line.
func (w *Writer) Comment(text string) error {
	w.borrow()
	w.open = len(w.buf)
	return w.End(append(append(w.buf, ": "...), text...))
}

// Send writes and flushes what has been gathered, if anything.
func (w *Writer) Send() error {
	if len(w.buf) == 0 {
		return nil
	}
	err := w.send(w.buf)
	if cap(w.buf) <= 4*Batch { // a single large event must not stay in the pool
		*w.lent = w.buf[:0]
		buffers.Put(w.lent)
	}
	w.buf, w.lent = nil, nil
	return err
}

func (w *Writer) send(b []byte) error {
	if _, err := w.w.Write(b); err != nil {
		return err
	}
	if w.flush == nil {
		return nil
	}
	return w.flush()
}
