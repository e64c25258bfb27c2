//go:build unix

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// speak returns a client whose server says what is given, in pieces of some size.
func speak(t *testing.T, said string, piece int) *client {
	t.Helper()
	here, there := net.Pipe()
	t.Cleanup(func() { here.Close() })
	rest := []byte(said)
	go func() {
		defer there.Close()
		for len(rest) > 0 {
			n := min(piece, len(rest))
			if _, err := there.Write(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
	}()
	here.SetDeadline(time.Now().Add(10 * time.Second))
	return &client{conn: here, wire: newWire(here)}
}

var goodAnswers = []struct {
	name, said string
	status     int
	body       string
}{
	{"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: application/json; charset=utf-8\r\n\r\nhello", 200, "hello"},
	{"empty", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, ""},
	{"no reason", "HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\nx", 200, "x"},
	{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", 200, "hello!"},
	{"upper case", "HTTP/1.1 200 OK\r\nTRANSFER-ENCODING: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", 200, "0123456789"},
	{"extension and trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n0\r\nX-Late: yes\r\n\r\n", 200, "hi"},
	{"line ends in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n\r\n0\r\n\n\r\n0\r\n\r\n", 200, "\r\n0\r\n\n"},
	{"early hints", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"},
	{"large", "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("0123456789", 20000), 200, strings.Repeat("0123456789", 20000)},
}

// What an answer says must not depend on how the network cuts it.
func TestReadAnswer(t *testing.T) {
	for _, test := range goodAnswers {
		for _, piece := range []int{1, 2, 3, 7, 1 << 20} {
			if piece < 7 && len(test.said) > 1000 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", test.name, piece), func(t *testing.T) {
				c := speak(t, test.said+test.said, piece)
				a := newAnswer()
				a.keep = true
				for range 2 { // the second on the same connection
					if err := c.read(a); err != nil {
						t.Fatal(err)
					}
					if a.status != test.status || string(a.body) != test.body || a.length != len(test.body) {
						t.Fatalf("read %d, %d bytes: %.80q", a.status, a.length, a.body)
					}
					if want := test.body[max(len(test.body)-endSize, 0):]; string(a.end) != want {
						t.Fatalf("end %q, want %q", a.end, want)
					}
				}
			})
		}
	}
}

func TestReadBadAnswer(t *testing.T) {
	for _, test := range []struct {
		name, said string
		want       error
	}{
		{"cut in the head", "HTTP/1.1 200 OK\r\nContent-Le", io.EOF},
		{"cut in the body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", io.EOF},
		{"cut in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", io.EOF},
		{"no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", io.EOF},
		{"no length", "HTTP/1.1 200 OK\r\n\r\nhello", errLength},
		{"chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", errChunk},
		{"chunk too long", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n", errChunk},
		{"other protocol", "SSH-2.0-OpenSSH_10.0\r\n\r\n", errHead},
		{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", errHead},
		{"other encoding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", errHead},
		{"no colon", "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", errHead},
		{"endless head", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxHead+1), errTooBig},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := speak(t, test.said, 1<<20).read(newAnswer()); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

// A load generator that allocates would measure its own garbage collector.
func TestReadAllocates(t *testing.T) {
	const said = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n"
	c := speak(t, strings.Repeat(said, 200), len(said))
	a := newAnswer()
	if n := testing.AllocsPerRun(100, func() {
		if err := c.read(a); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations an answer", n)
	}
}

func TestStamps(t *testing.T) {
	now := time.Now().UnixNano()
	s := &stamps{}
	s.read(fmt.Appendf(nil, `{"delta":"@%d "}`, now-2000))
	s.read(fmt.Appendf(nil, `{"delta":"@%d "}{"delta":"@%d "}`, now-1000, now))
	s.read(fmt.Appendf(nil, `{"text":"@%d @%d @%d "}`, now-2000, now-1000, now)) // the whole text again
	s.read([]byte(`@12 and name@host, which are no times@`))
	if len(s.delays) != 3 || s.delays[0] < 2000 || s.delays[2] < 0 || s.delays[2] > time.Minute {
		t.Errorf("delays %v", s.delays)
	}
}
