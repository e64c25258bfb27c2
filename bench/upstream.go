//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// upstream is a model server with canned answers. It checks nothing, so that it
// costs less than what is measured; what reaches it is checked once, before
// (check.go), by asking for the last request.
type upstream struct {
	ln net.Listener

	mu      sync.Mutex
	answers map[string]*canned // by path and ask
	record  bool
	path    string // of the last request
	body    []byte
}

// canned is an answer made ready for the socket.
type canned struct {
	ask    *ask
	voice  voice
	writes [][]byte // all of it, but for a stream that tells the time
}

const streamHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"

const lastChunk = "0\r\n\r\n"

func appendChunk(b, data []byte) []byte {
	b = strconv.AppendInt(b, int64(len(data)), 16)
	return append(append(append(b, "\r\n"...), data...), "\r\n"...)
}

func newCanned(to api, a *ask) *canned {
	c := &canned{ask: a, voice: voices[to]}
	if a.events == 0 {
		body := c.voice.answer(a.text())
		c.writes = [][]byte{fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)}
		return c
	}
	c.writes = [][]byte{appendChunk([]byte(streamHead), c.voice.open())}
	if a.gap > 0 {
		return c
	}
	var some []byte
	for i := range a.events {
		some = appendChunk(some, c.voice.delta(nil, i, token(i)))
		if (i+1)%a.perWrite == 0 || i == a.events-1 {
			c.writes = append(c.writes, some)
			some = nil
		}
	}
	if !a.hold {
		c.writes = append(c.writes, append(appendChunk(nil, c.voice.tail(a.text(), a.events)), lastChunk...))
	}
	return c
}

// send writes the answer.
func (c *canned) send(conn net.Conn) error {
	for _, b := range c.writes {
		if _, err := conn.Write(b); err != nil {
			return err
		}
	}
	if c.ask.gap > 0 {
		return c.tell(conn)
	}
	return nil
}

// tell writes events whose text is the time at which they are sent.
func (c *canned) tell(conn net.Conn) error {
	text := ""
	var delta, framed []byte
	for i := range c.ask.events {
		if i > 0 {
			time.Sleep(c.ask.gap)
		}
		token := "@" + strconv.FormatInt(time.Now().UnixNano(), 10) + " "
		text += token
		delta = c.voice.delta(delta[:0], i, token)
		framed = appendChunk(framed[:0], delta)
		if _, err := conn.Write(framed); err != nil {
			return err
		}
	}
	_, err := conn.Write(append(appendChunk(nil, c.voice.tail(text, c.ask.events)), lastChunk...))
	return err
}

func newUpstream() (*upstream, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := &upstream{ln: ln, answers: map[string]*canned{}}
	for to, path := range paths {
		for _, a := range asks {
			u.answers[path+" "+a.name] = newCanned(to, a)
		}
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				go u.serve(conn)
			}
		}
	}()
	return u, nil
}

func (u *upstream) serve(conn net.Conn) {
	defer conn.Close()
	w := newWire(conn)
	drop := func([]byte) {}
	for {
		h, err := w.head()
		if err != nil {
			return
		}
		_, rest, _ := bytes.Cut(h.start, []byte(" "))
		path, _, _ := bytes.Cut(rest, []byte(" "))
		c := u.answer(string(path) + " " + string(h.mark))
		got := drop
		var body []byte
		if u.recording(string(path)) {
			got = func(p []byte) { body = append(body, p...) }
		}
		length, last := h.length, h.close
		if length == unknown {
			length = 0
		}
		if err := w.body(length, got); err != nil {
			return
		}
		u.keep(body)
		if c == nil {
			io.WriteString(conn, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
			continue
		}
		if err := c.send(conn); err != nil {
			return
		}
		if c.ask.hold {
			w.fill() // until the other side closes
			return
		}
		if last {
			return
		}
	}
}

func (u *upstream) answer(to string) *canned {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.answers[to]
}

// say has an answer be sent to the requests of a path that have a mark. It has everything in its writes.
func (u *upstream) say(path, mark string, writes ...[]byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answers[path+" "+mark] = &canned{ask: &ask{}, writes: writes}
}

func (u *upstream) recording(path string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.record {
		u.path = path
	}
	return u.record
}

func (u *upstream) keep(body []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.record {
		u.body = body
	}
}

// upstreamRole carries out the orders that an upstream knows.
func upstreamRole() func(order) (reply, error) {
	var u *upstream
	return func(o order) (reply, error) {
		var err error
		switch o.Do {
		case "start":
			if u, err = newUpstream(); err != nil {
				return reply{}, err
			}
			return reply{Addrs: map[string]string{"upstream": u.ln.Addr().String()}}, nil
		case "record", "forget":
			u.mu.Lock()
			defer u.mu.Unlock()
			u.record = o.Do == "record"
			u.body = nil
			return reply{}, nil
		case "last":
			u.mu.Lock()
			defer u.mu.Unlock()
			return reply{Path: u.path, Body: u.body}, nil
		}
		return reply{}, fmt.Errorf("there is no order %q", o.Do)
	}
}
