//go:build unix

package main

import (
	"bytes"
	"net"
	"time"
)

// client is one keep-alive connection of the load generator.
type client struct {
	conn net.Conn
	wire *wire
}

// dial connects. All of the connection's life must be over at the deadline.
func dial(addr string, deadline time.Time) (*client, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(deadline)
	return &client{conn: conn, wire: newWire(conn)}, nil
}

// answer is what the load generator keeps of an answer. One answer is used for
// all requests of a connection.
type answer struct {
	status    int
	mediaType string // only with keep
	length    int    // of the body
	end       []byte // its last bytes, at most endSize
	first     time.Time

	keep   bool // keep the body
	body   []byte
	stamps *stamps // reads the times in the body, if there is one

	sink func([]byte) // got, made a function value once
}

// endSize is how much of an answer's end is compared with what is expected.
const endSize = 16

func newAnswer() *answer {
	a := &answer{end: make([]byte, 0, 2*endSize)}
	a.sink = a.got
	return a
}

func (a *answer) got(p []byte) {
	if a.length == 0 {
		a.first = time.Now()
	}
	a.length += len(p)
	if len(p) >= endSize {
		a.end = append(a.end[:0], p[len(p)-endSize:]...)
	} else {
		if drop := len(a.end) + len(p) - endSize; drop > 0 {
			a.end = a.end[:copy(a.end, a.end[drop:])]
		}
		a.end = append(a.end, p...)
	}
	if a.keep {
		a.body = append(a.body, p...)
	}
	if a.stamps != nil {
		a.stamps.read(p)
	}
}

// do sends a request and reads its answer.
func (c *client) do(request []byte, a *answer) error {
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	return c.read(a)
}

// read reads an answer; those of 1xx before it are skipped.
func (c *client) read(a *answer) error {
	a.length, a.end, a.body = 0, a.end[:0], a.body[:0]
	for {
		h, err := c.wire.head()
		if err != nil {
			return err
		}
		if a.status, err = h.status(); err != nil {
			return err
		}
		if a.status < 200 {
			continue
		}
		if a.keep {
			media, _, _ := bytes.Cut(h.mediaType, []byte(";"))
			a.mediaType = string(media)
		}
		return c.wire.body(h.length, a.sink)
	}
}

// open sends a request and reads until the first bytes of the answer's body have
// come. The connection is left in the middle of the answer.
func (c *client) open(request []byte) (status int, err error) {
	if _, err := c.conn.Write(request); err != nil {
		return 0, err
	}
	h, err := c.wire.head()
	if err != nil {
		return 0, err
	}
	if status, err = h.status(); err != nil {
		return 0, err
	}
	for c.wire.from == c.wire.to {
		if err := c.wire.fill(); err != nil {
			return status, err
		}
	}
	return status, nil
}

// stampSize is how many digits a time in nanoseconds since 1970 has, until 2286.
const stampSize = 19

// stamps reads the times at which an upstream sent its events out of their texts,
// where they stand behind an @. They grow; the whole text, which Responses
// repeats at the end, is thereby not counted again.
type stamps struct {
	last   int64
	delays []time.Duration
}

func (s *stamps) read(p []byte) {
	now := time.Now().UnixNano()
	for {
		at := bytes.IndexByte(p, '@')
		if at < 0 || len(p) < at+1+stampSize {
			return
		}
		p = p[at+1:]
		var t int64
		for _, c := range p[:stampSize] {
			if c < '0' || c > '9' {
				t = 0
				break
			}
			t = t*10 + int64(c-'0')
		}
		if t > s.last {
			s.last = t
			s.delays = append(s.delays, time.Duration(now-t))
		}
	}
}
