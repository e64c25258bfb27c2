package sse

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// parse feeds the pieces one by one and returns the events as "type|data".
func parse(p *Parser, pieces ...string) (events []string, err error) {
	keep := func(e Event) error {
		events = append(events, string(e.Type)+"|"+string(e.Data))
		return nil
	}
	for _, piece := range pieces {
		// What Feed was given is the caller's again: it is overwritten.
		b := []byte(piece)
		err := p.Feed(b, keep)
		for i := range b {
			b[i] = '#'
		}
		if err != nil {
			return events, err
		}
	}
	return events, p.Close(keep)
}

var parserCases = []struct {
	name, in string
	want     []string
}{
	{"nothing", "", nil},
	{"one event", "data: a\n\n", []string{"|a"}},
	{"two events", "data: a\n\ndata: b\n\n", []string{"|a", "|b"}},
	{"CRLF", "event: x\r\ndata: a\r\n\r\ndata: b\r\n\r\n", []string{"x|a", "|b"}},
	{"CR", "event: x\rdata: a\r\rdata: b\r\r", []string{"x|a", "|b"}},
	{"mixed line ends", "data: a\r\n\ndata: b\n\rdata: c\r\r\ndata: d\r\n\r", []string{"|a", "|b", "|c", "|d"}},
	{"LF behind CRLF is a blank line", "data: a\r\n\r\n\n\n", []string{"|a"}},
	{"byte order mark", "\ufeffdata: a\n\n", []string{"|a"}},
	{"byte order mark, then a blank line", "\ufeff\n\ndata: a\n\n", []string{"|a"}},
	{"only the first byte order mark", "\ufeffdata: a\n\n\ufeffdata: b\n\ndata: \ufeffc\n\n", []string{"|a", "|\ufeffc"}},
	{"half a byte order mark", "\xef\xbbdata: a\n\ndata: b\n\n", []string{"|b"}},
	{"comments", ": hello\n\n:\n\ndata: a\n: between\ndata: b\n\n:data: c\n\n", []string{"|a\nb"}},
	{"several data lines", "data: a\ndata: b\ndata:\ndata: c\n\n", []string{"|a\nb\n\nc"}},
	{"several data lines, CRLF", "data: {\r\ndata: }\r\n\r\n", []string{"|{\n}"}},
	{"no final blank line", "data: a\n\ndata: b\n", []string{"|a", "|b"}},
	{"no final line end", "data: a\n\nevent: x\ndata: b", []string{"|a", "x|b"}},
	{"a lone CR at the end", "data: a\r", []string{"|a"}},
	{"empty data", "data:\n\ndata: \n\ndata\n\n", []string{"|", "|", "|"}},
	{"two empty data lines", "data\ndata\n\n", []string{"|\n"}},
	{"no space", "data:a\n\ndata:  b\n\nevent:x\ndata:\tc\n\n", []string{"|a", "| b", "x|\tc"}},
	{"the event field", "event: x\ndata: a\n\nevent: y\n\ndata: b\n\nevent: z\nevent: w\ndata: c\n\n", []string{"x|a", "|b", "w|c"}},
	{"the event field behind the data", "data: a\nevent: x\n\n", []string{"x|a"}},
	{"an emptied event field", "event: x\nevent\ndata: a\n\n", []string{"|a"}},
	{"id and retry", "id: 7\nretry: 100\ndata: a\n\nid\nretry\n\n", []string{"|a"}},
	{"unknown fields", "foo: bar\ndata: a\nDATA: b\n data: c\ndatas: d\nbar\n\n", []string{"|a"}},
	{"colons", "data: a: b\n\ndata::c\n\n", []string{"|a: b", "|:c"}},
	{"NUL bytes", "data: \x00a\x00\n\nevent: \x00\ndata: b\n\nid: \x00\ndata: c\n\n", []string{"|\x00a\x00", "\x00|b", "|c"}},
	{"other line separators are text", "data: a\u2028b\u0085c\u2029d\v\f\n\n", []string{"|a\u2028b\u0085c\u2029d\v\f"}},
	{"invalid UTF-8", "data: \xff\xfe\n\n", []string{"|\xff\xfe"}},
	{"blank lines", "\n\n\n\r\r\r\n\r\ndata: a\n\n\n\n", []string{"|a"}},
	{"a large event", "data: " + strings.Repeat("x", 200_000) + "\n\ndata: b\n\n", []string{"|" + strings.Repeat("x", 200_000), "|b"}},
}

func TestParser(t *testing.T) {
	for _, c := range parserCases {
		t.Run(c.name, func(t *testing.T) {
			check := func(how string, pieces ...string) {
				t.Helper()
				got, err := parse(new(Parser), pieces...)
				if err != nil || !slices.Equal(got, c.want) {
					t.Fatalf("%s: %.200q, %v; want %.200q", how, got, err, c.want)
				}
			}
			check("whole", c.in)
			check("every byte alone", strings.Split(c.in, "")...)
			bytewise := make([]string, len(c.in))
			for i := range len(c.in) {
				bytewise[i] = c.in[i : i+1]
			}
			check("every byte alone", bytewise...)
			step := max(1, len(c.in)/200)
			for k := 0; k <= len(c.in); k += step {
				check(fmt.Sprintf("split at %d", k), c.in[:k], c.in[k:])
				check(fmt.Sprintf("split at %d, with nothing between", k), c.in[:k], "", c.in[k:])
			}
		})
	}
}

func TestParserLimit(t *testing.T) {
	const limit = 100
	x := strings.Repeat("x", limit)
	for _, c := range []struct {
		name, in string
		events   int
		fails    bool
	}{
		{"a line of the limit", "data: " + x[:limit-6] + "\n\n", 1, false},
		{"a line above it", "data: " + x[:limit-5] + "\n\ndata: b\n\n", 0, true},
		{"a line without an end", x + "x", 0, true},
		{"a comment above it", ":" + x + "\n\n", 0, true},
		{"data lines of the limit", "data: " + x[:49] + "\ndata: " + x[:50] + "\n\n", 1, false},
		{"data lines above it", "data: a\n\ndata: " + x[:50] + "\ndata: " + x[:50] + "\n\n", 1, true},
		{"empty data lines above it", strings.Repeat("data\n", limit+2) + "\n", 0, true},
		{"many small events", strings.Repeat("data: a\n\n", limit), limit, false},
		{"a large one behind a small one", "data: a\n\ndata: " + x + "\n\n", 1, true},
		{"the first line of an event whose second is too large", "data: {}\ndata: " + x + "\n\n", 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for k := 0; k <= len(c.in); k++ {
				p := Parser{MaxEvent: limit}
				events, err := parse(&p, c.in[:k], c.in[k:])
				if errors.Is(err, ErrTooLarge) != c.fails || len(events) != c.events {
					t.Fatalf("split at %d: %d events, %v; want %d, an error: %v", k, len(events), err, c.events, c.fails)
				}
				if !c.fails {
					continue
				}
				// The stream cannot be understood any more.
				if more, err := parse(&p, "\n\ndata: c\n\n"); len(more) > 0 || !errors.Is(err, ErrTooLarge) {
					t.Fatalf("goes on: %q, %v", more, err)
				}
				if err := p.Close(func(Event) error { t.Fatal("an event at the end"); return nil }); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	var p Parser // the default
	if _, err := parse(&p, "data: "+strings.Repeat("x", DefaultMaxEvent)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("no default limit: %v", err)
	}
}

func TestParserStopsAtAnError(t *testing.T) {
	stop := errors.New("enough")
	var p Parser
	n := 0
	fn := func(Event) error { n++; return stop }
	if err := p.Feed([]byte("data: a\n\ndata: b\n\n"), fn); err != stop || n != 1 {
		t.Errorf("%d events, %v", n, err)
	}
	p = Parser{}
	if err := p.Feed([]byte("data: a"), fn); err != nil {
		t.Error(err)
	}
	if err := p.Close(fn); err != stop || n != 2 {
		t.Errorf("%d events, %v", n, err)
	}
}

// An idle stream keeps no memory of a large event.
func TestParserForgets(t *testing.T) {
	var p Parser
	large := "data: " + strings.Repeat("x", 1<<20) + "\n\n"
	for _, pieces := range [][]string{{large}, {large[:100], large[100:]}, {"data: a\n" + large[:1000], large[1000:]}} {
		for _, piece := range pieces {
			if err := p.Feed([]byte(piece), func(Event) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		if held := cap(p.line) + cap(p.data) + cap(p.typ); held > 192<<10 {
			t.Errorf("%d bytes are kept", held)
		}
	}
}

// The cost of a line does not depend on what is around it: a flood of line ends
// must not be looked through again for each.
func TestParserIsLinear(t *testing.T) {
	for _, flood := range []string{"\r", "\n", "\r\n", "data\r", "data\n", ":\r", "data: a\r\r", "x"} {
		in := []byte(strings.Repeat(flood, (8<<20)/len(flood)))
		var p Parser
		events := 0
		count := func(Event) error { events++; return nil }
		if err := p.Feed(in, count); err != nil && !errors.Is(err, ErrTooLarge) { // quadratic, this takes minutes
			t.Fatal(err)
		}
	}
}

// writes keeps each write, and tells how often it was flushed.
type writes struct {
	pieces  []string
	flushes int
	err     error
}

func (w *writes) Write(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	w.pieces = append(w.pieces, string(b))
	return len(b), nil
}

func (w *writes) flush() error { w.flushes++; return nil }

func TestWriterEvents(t *testing.T) {
	for _, c := range []struct{ typ, data, want string }{
		{"", "a", "data: a\n\n"},
		{"x", "a", "event: x\ndata: a\n\n"},
		{"", "", "data: \n\n"},
		{"", "a\nb", "data: a\ndata: b\n\n"},
		{"x", "a\r\nb\rc\n", "event: x\ndata: a\ndata: b\ndata: c\ndata: \n\n"},
		{"", "data: x\n\ndata: y", "data: data: x\ndata: \ndata: data: y\n\n"},
	} {
		var out writes
		w := NewWriter(&out, out.flush)
		if err := w.Event(c.typ, []byte(c.data)); err != nil || len(out.pieces) != 0 {
			t.Errorf("%q is sent at once: %q, %v", c.data, out.pieces, err)
		}
		if err := w.Send(); err != nil {
			t.Error(err)
		}
		if len(out.pieces) != 1 || out.pieces[0] != c.want || out.flushes != 1 {
			t.Errorf("%q: %q, %d flushes; want %q", c.data, out.pieces, out.flushes, c.want)
		}
		got, err := parse(new(Parser), out.pieces...)
		data := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(c.data)
		if err != nil || len(got) != 1 || got[0] != c.typ+"|"+data {
			t.Errorf("%q is read as %q", c.data, got)
		}
	}
}

func TestWriterBatches(t *testing.T) {
	event := func(n int) string { return strings.Repeat("x", n-len("data: \n\n")) }
	for _, c := range []struct {
		name  string
		sizes []int // of the events as they are written
		want  []int // of the writes
	}{
		{"nothing", nil, nil},
		{"one", []int{100}, []int{100}},
		{"a batch to the last byte", []int{Batch / 2, Batch / 2}, []int{Batch}},
		{"one byte more", []int{Batch / 2, Batch/2 + 1}, []int{Batch / 2, Batch/2 + 1}},
		{"many small ones", slices.Repeat([]int{100}, 400), []int{16300, 16300, 7400}},
		{"a larger one alone", []int{3 * Batch}, []int{3 * Batch}},
		{"a larger one between", []int{100, 3 * Batch, 100}, []int{100, 3 * Batch, 100}},
		{"two larger ones", []int{2 * Batch, 2 * Batch}, []int{2 * Batch, 2 * Batch}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out writes
			w := NewWriter(&out, out.flush)
			for range 2 { // the second time with the buffer of the first
				out.pieces, out.flushes = nil, 0
				for _, n := range c.sizes {
					if err := w.End(append(w.Begin(""), event(n)...)); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Send(); err != nil {
					t.Fatal(err)
				}
				var got []int
				for _, p := range out.pieces {
					got = append(got, len(p))
					if !strings.HasSuffix(p, "\n\n") || !strings.HasPrefix(p, "data: ") {
						t.Error("a write divides an event")
					}
				}
				if !slices.Equal(got, c.want) || out.flushes != len(c.want) {
					t.Errorf("writes of %v bytes, %d flushes; want %v", got, out.flushes, c.want)
				}
			}
			if cap(w.buf) > 4*Batch {
				t.Errorf("%d bytes are kept", cap(w.buf))
			}
		})
	}
}

func TestWriterSendsNothingOfNothing(t *testing.T) {
	var out writes
	w := NewWriter(&out, out.flush)
	for range 3 {
		if err := w.Send(); err != nil || out.flushes != 0 || len(out.pieces) != 0 {
			t.Errorf("%q, %d flushes, %v", out.pieces, out.flushes, err)
		}
	}
}

func TestWriterComment(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out, nil) // without a flush
	for _, err := range []error{w.Event("x", []byte("a")), w.Comment("keepalive"), w.Event("", []byte("b")), w.Send()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if want := "event: x\ndata: a\n\n: keepalive\n\ndata: b\n\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestWriterErrors(t *testing.T) {
	gone := errors.New("gone")
	out := writes{err: gone}
	w := NewWriter(&out, out.flush)
	if err := w.Event("", []byte("a")); err != nil {
		t.Error(err)
	}
	if err := w.Send(); err != gone || out.flushes != 0 {
		t.Errorf("%v, %d flushes", err, out.flushes)
	}
	if err := w.Event("", bytes.Repeat([]byte("x"), Batch)); err != nil {
		t.Error(err)
	}
	if err := w.Event("", []byte("b")); err != gone {
		t.Error(err)
	}
	w = NewWriter(&writes{}, func() error { return gone })
	if err := w.Event("", []byte("a")); err != nil {
		t.Error(err)
	}
	if err := w.Send(); err != gone {
		t.Error(err)
	}
}

// FuzzParser: the events of a stream are the same however it is divided, and
// nothing in it makes the parser panic, take long, or make more than it was
// given.
func FuzzParser(f *testing.F) {
	for _, c := range parserCases {
		if len(c.in) < 1000 {
			f.Add([]byte(c.in), uint16(len(c.in)/2), uint8(3))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, at uint16, size uint8) {
		s := string(in)
		want, err := parse(new(Parser), s)
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, e := range want {
			total += len(e) - 1
			if strings.ContainsAny(e, "\r") {
				t.Errorf("a CR in %q", e)
			}
		}
		if total > len(s) {
			t.Errorf("%d bytes of %d", total, len(s))
		}
		k := min(int(at), len(s))
		if got, err := parse(new(Parser), s[:k], s[k:]); err != nil || !slices.Equal(got, want) {
			t.Errorf("split at %d: %q, %v; want %q", k, got, err, want)
		}
		var pieces []string
		for b := range slices.Chunk(in, int(size)+1) {
			pieces = append(pieces, string(b))
		}
		if got, err := parse(new(Parser), pieces...); err != nil || !slices.Equal(got, want) {
			t.Errorf("in pieces of %d: %q, %v; want %q", int(size)+1, got, err, want)
		}
		// What the writer makes of the events reads the same.
		var out bytes.Buffer
		w := NewWriter(&out, nil)
		for _, e := range want {
			typ, data, _ := strings.Cut(e, "|")
			if err := w.Event(typ, []byte(data)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Send(); err != nil {
			t.Fatal(err)
		}
		if got, err := parse(new(Parser), out.String()); err != nil || !slices.Equal(got, want) {
			t.Errorf("written and read again: %q, %v; want %q", got, err, want)
		}
		small := Parser{MaxEvent: 10}
		if _, err := parse(&small, s); err != nil && !errors.Is(err, ErrTooLarge) {
			t.Error(err)
		}
	})
}

const chunk = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1763800000,"model":"m","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]}` + "\n\n"

func BenchmarkParser(b *testing.B) {
	ignore := func(Event) error { return nil }
	named := "event: response.output_text.delta\n" + chunk
	for _, c := range []struct {
		name  string
		in    string
		parts int // writes
	}{
		{"one event in one write", chunk, 1},
		{"a named event in one write", named, 1},
		{"one event in two writes", chunk, 2},
		{"32 KiB of events", strings.Repeat(chunk, (32<<10)/len(chunk)), 1},
		{"a 1 MiB event in writes of 32 KiB", "data: " + strings.Repeat("x", 1<<20) + "\n\n", 32},
	} {
		b.Run(c.name, func(b *testing.B) {
			in := []byte(c.in)
			size := (len(in) + c.parts - 1) / c.parts
			var p Parser
			b.ReportAllocs()
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				for part := range slices.Chunk(in, size) {
					if err := p.Feed(part, ignore); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// discard is a connection that is always ready.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func BenchmarkWriter(b *testing.B) {
	data := []byte(strings.TrimSuffix(strings.TrimPrefix(chunk, "data: "), "\n\n"))
	for _, c := range []struct {
		name string
		n    int // events for each Send
	}{{"one event", 1}, {"200 events", 200}} {
		b.Run(c.name, func(b *testing.B) {
			w := NewWriter(discard{}, func() error { return nil })
			b.ReportAllocs()
			b.SetBytes(int64(c.n * len(data)))
			for b.Loop() {
				for range c.n {
					if err := w.End(append(w.Begin("response.output_text.delta"), data...)); err != nil {
						b.Fatal(err)
					}
				}
				if err := w.Send(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
