//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// maxHead is the largest start line with its header, and the largest chunk-size
// line, in bytes.
const maxHead = 32 << 10

// bufferSize is the read buffer of a connection: the size of a large socket read.
const bufferSize = 64 << 10

var (
	errHead   = errors.New("the head of the message is malformed")
	errChunk  = errors.New("a chunk of the body is malformed")
	errLength = errors.New("the message has neither Content-Length nor chunks")
	errTooBig = errors.New("the head of the message is too large")
)

// wire reads HTTP/1.1 messages from a connection: as little of HTTP as the two
// ends of this program need, since net/http would cost more than the gateway
// between them. It allocates nothing per message.
type wire struct {
	conn     net.Conn
	buf      []byte
	from, to int // what has been read and not been taken
}

func newWire(conn net.Conn) *wire {
	return &wire{conn: conn, buf: make([]byte, bufferSize)}
}

// head is what counts of a message's head. Its slices are valid until the next
// read.
type head struct {
	start     []byte // the request line or the status line
	length    int64  // of the body; chunked is -1, unknown is -2
	mark      []byte // X-Client-Request-Id
	mediaType []byte
	close     bool // the connection ends behind this message
}

const (
	chunked = -1
	unknown = -2
)

// fill reads more behind what has not been taken.
func (w *wire) fill() error {
	switch {
	case w.from == w.to:
		w.from, w.to = 0, 0
	case w.to == len(w.buf):
		if w.from == 0 {
			return errTooBig
		}
		w.to = copy(w.buf, w.buf[w.from:w.to])
		w.from = 0
	}
	n, err := w.conn.Read(w.buf[w.to:])
	w.to += n
	if n > 0 {
		return nil
	}
	return err
}

// head reads a start line and header.
func (w *wire) head() (head, error) {
	seen := 0
	for {
		have := w.buf[w.from:w.to]
		if end := bytes.Index(have[max(seen-3, 0):], []byte("\r\n\r\n")); end >= 0 {
			end += max(seen-3, 0)
			w.from += end + 4
			return parseHead(have[:end])
		}
		if len(have) > maxHead {
			return head{}, errTooBig
		}
		seen = len(have)
		if err := w.fill(); err != nil {
			return head{}, err
		}
	}
}

func parseHead(b []byte) (head, error) {
	h := head{length: unknown}
	var rest []byte
	h.start, rest, _ = bytes.Cut(b, []byte("\r\n"))
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 {
			return h, errHead
		}
		name, value := line[:colon], bytes.TrimSpace(line[colon+1:])
		switch {
		case is(name, "content-length"):
			n, err := strconv.ParseInt(string(value), 10, 64)
			if err != nil || n < 0 {
				return h, errHead
			}
			h.length = n
		case is(name, "transfer-encoding"):
			if !is(value, "chunked") {
				return h, errHead
			}
			h.length = chunked
		case is(name, "connection"):
			h.close = is(value, "close")
		case is(name, "content-type"):
			h.mediaType = value
		case is(name, "x-client-request-id"):
			h.mark = value
		}
	}
	return h, nil
}

// is compares without regard to case; lower is in lower case.
func is(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// status is the number in a status line.
func (h head) status() (int, error) {
	if len(h.start) < 12 || !bytes.HasPrefix(h.start, []byte("HTTP/1.1 ")) {
		return 0, errHead
	}
	return strconv.Atoi(string(h.start[9:12]))
}

// body reads a body and gives its pieces to got as they come, chunk framing
// taken off.
func (w *wire) body(length int64, got func([]byte)) error {
	switch {
	case length >= 0:
		return w.take(length, got)
	case length == unknown:
		return errLength
	}
	for {
		line, err := w.line()
		if err != nil {
			return err
		}
		digits, _, _ := bytes.Cut(line, []byte(";"))
		size, err := strconv.ParseInt(string(bytes.TrimSpace(digits)), 16, 64)
		if err != nil || size < 0 {
			return fmt.Errorf("%w: size %q", errChunk, digits)
		}
		if size == 0 {
			break
		}
		if err := w.take(size, got); err != nil {
			return err
		}
		if line, err = w.line(); err != nil {
			return err
		}
		if len(line) > 0 {
			return errChunk
		}
	}
	for { // trailers
		line, err := w.line()
		if err != nil || len(line) == 0 {
			return err
		}
	}
}

// take gives n bytes to got, in the pieces in which they come.
func (w *wire) take(n int64, got func([]byte)) error {
	for n > 0 {
		if w.from == w.to {
			if err := w.fill(); err != nil {
				return err
			}
		}
		p := w.buf[w.from:w.to]
		if int64(len(p)) > n {
			p = p[:n]
		}
		w.from += len(p)
		n -= int64(len(p))
		got(p)
	}
	return nil
}

// line reads a line without its CRLF.
func (w *wire) line() ([]byte, error) {
	for {
		have := w.buf[w.from:w.to]
		if end := bytes.IndexByte(have, '\n'); end >= 0 {
			w.from += end + 1
			return bytes.TrimSuffix(have[:end], []byte("\r")), nil
		}
		if len(have) > maxHead {
			return nil, errTooBig
		}
		if err := w.fill(); err != nil {
			return nil, err
		}
	}
}
