package convert_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/sse"
)

func init() {
	if flag.Lookup("update") == nil { // other tests of this directory have it too
		flag.Bool("update", false, "rewrite the golden files")
	}
}

func updating() bool { return flag.Lookup("update").Value.String() == "true" }

// goldenCase is one of the tricky cases of the mapping: what clients and upstreams
// send, and, in checks written by hand, what must become of it. All else that
// comes of it stands in testdata/golden.
type goldenCase struct {
	name      string
	exchanges []goldenExchange
}

// goldenExchange is a client's request and, if there is one, its upstream's
// answer.
type goldenExchange struct {
	client, upstream convert.API
	dialect          string // generic, if empty
	sealed           bool   // the gateway has a key for reasoning
	request          string
	// answer is the upstream's whole answer, stream the lines of its stream: data,
	// or a comment. Only one is set.
	answer string
	stream []string
	// checks are "/path/into/result = JSON"; absent stands for nothing there. The
	// result is the exchange as the golden file has it.
	checks []string
	// trace, if it is there, is the client's stream from its third line on, as
	// traceLine tells it; the first two are always created and in_progress, or, for
	// a Chat client, it begins with the first.
	trace []string
}

// goldenResult is what became of an exchange.
type goldenResult struct {
	Request jsontext.Value `json:"request"`
	// Sent is the request for the upstream, Report what it leaves out.
	Sent   jsontext.Value `json:"sent,omitzero"`
	Report []string       `json:"report,omitzero"`
	// Upstream is its answer: an object, or the lines of a stream.
	Upstream jsontext.Value `json:"upstream,omitzero"`
	// Received is the client's answer: an object, or what traceLine tells of each
	// event of a stream, and the response in its terminal event.
	Received jsontext.Value `json:"received,omitzero"`
	Trace    []string       `json:"trace,omitzero"`
	Final    jsontext.Value `json:"final,omitzero"`
	// Error is the answer to a request that is refused.
	Error  jsontext.Value `json:"error,omitzero"`
	Status int            `json:"status,omitzero"`
}

func TestGolden(t *testing.T) {
	if len(goldenCases) != 34 {
		t.Errorf("there are 34 cases, but %d here", len(goldenCases))
	}
	for i, c := range goldenCases {
		t.Run(c.name, func(t *testing.T) {
			if want := fmt.Sprintf("case %02d: ", i+1); !strings.HasPrefix(c.name, want) {
				t.Fatalf("the cases must stand in order: %q does not begin with %q", c.name, want)
			}
			sealedBefore := "" // what the client was given to carry
			var results []goldenResult
			for k := range c.exchanges {
				e := c.exchanges[k]
				e.request = strings.ReplaceAll(e.request, "$sealed", sealedBefore)
				r, received := playGolden(t, &e)
				if blob := sealedBlob.Find(received); blob != nil {
					sealedBefore = string(blob)
				}
				results = append(results, r)
				checkGolden(t, k, &e, &r)
			}
			compareGolden(t, c.name, results)
		})
	}
}

// sealedBlob is what is different each time.
var sealedBlob = regexp.MustCompile(`c2r2\.[A-Za-z0-9_-]+`)

func goldenOptions(t *testing.T, e *goldenExchange) convert.Options {
	t.Helper()
	counts := map[string]int{}
	o := convert.Options{
		Now: func() time.Time { return time.Unix(1760000000, 0) },
		NewID: func(prefix string) string {
			counts[prefix]++
			return fmt.Sprint(prefix, counts[prefix])
		},
	}
	if e.dialect != "" {
		if o.Dialect = convert.Dialects[e.dialect]; o.Dialect == nil {
			t.Fatalf("no dialect %q", e.dialect)
		}
	}
	if e.sealed {
		var err error
		if o.Sealer, err = convert.NewSealer([]byte("the secret of the golden tests")); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// playGolden runs an exchange. It also returns the bytes that the client received.
func playGolden(t *testing.T, e *goldenExchange) (goldenResult, []byte) {
	t.Helper()
	r := goldenResult{Request: jsontext.Value(e.request)}
	req, err := convert.Read(e.client, []byte(e.request))
	if err != nil {
		return r.refused(t, err), nil
	}
	turn, err := req.To(e.upstream, goldenOptions(t, e))
	if err != nil {
		return r.refused(t, err), nil
	}
	r.Sent = turn.Body
	for _, loss := range turn.Report {
		r.Report = append(r.Report, loss.String())
	}
	if e.answer == "" && e.stream == nil {
		return r, nil
	}
	var out bytes.Buffer
	w := sse.NewWriter(&out, nil)
	emit := req.Writer(w)
	var final *responses.Response
	watch := func(ev *responses.Event) error {
		if responses.Terminal(ev.Type) {
			final = ev.Response
		}
		return emit(ev)
	}
	switch {
	case e.stream != nil:
		r.Upstream, err = json.Marshal(e.stream)
		if err == nil {
			err = feed(turn.Reader(watch, nil), e.upstream, e.stream)
		}
	default:
		r.Upstream = jsontext.Value(e.answer)
		if final, err = turn.Answer([]byte(e.answer)); err == nil && req.Stream() {
			err = convert.Replay(final, emit)
		}
	}
	if err != nil {
		return r.refused(t, err), nil
	}
	if !req.Stream() {
		r.Received, err = req.Write(final)
		if err != nil {
			t.Fatal(err)
		}
		return r, r.Received
	}
	if err := w.Send(); err != nil {
		t.Fatal(err)
	}
	r.Trace = traceStream(t, e.client, out.Bytes())
	if e.client == convert.Responses {
		r.Final = finalResponse(t, final)
	}
	return r, out.Bytes()
}

func (r goldenResult) refused(t *testing.T, err error) goldenResult {
	t.Helper()
	var e *convert.Error
	if !errors.As(err, &e) {
		t.Fatalf("an error of type %T: %v", err, err)
	}
	r.Status, r.Error = e.Status, e.Body()
	return r
}

// feed gives a reader the lines of a stream.
func feed(reader convert.StreamReader, api convert.API, lines []string) error {
	if err := reader.Start(); err != nil {
		return err
	}
	var text bytes.Buffer
	for _, line := range lines {
		switch {
		case strings.HasPrefix(line, ":"):
			fmt.Fprintf(&text, "%s\n\n", line)
			continue
		case api == convert.Responses && line != "[DONE]":
			var ev struct {
				Type string `json:"type"`
			}
			if err := json.Unmarshal([]byte(line), &ev); err != nil {
				return err
			}
			fmt.Fprintf(&text, "event: %s\n", ev.Type)
		}
		fmt.Fprintf(&text, "data: %s\n\n", line)
	}
	var p sse.Parser
	if err := p.Feed(text.Bytes(), reader.Event); err != nil {
		return err
	}
	if err := p.Close(reader.Event); err != nil {
		return err
	}
	return reader.Close(nil)
}

// finalResponse is a response without what repeats the request, which case 28 is
// about.
func finalResponse(t *testing.T, resp *responses.Response) jsontext.Value {
	t.Helper()
	short := *resp
	short.Echo = nil
	b, err := json.Marshal(&short)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// traceStream tells a client's stream line by line, and checks its sequence
// numbers.
func traceStream(t *testing.T, api convert.API, stream []byte) []string {
	t.Helper()
	var lines []string
	seq := 0
	var p sse.Parser
	take := func(e sse.Event) error {
		data := string(e.Data)
		if data == "[DONE]" {
			lines = append(lines, data)
			return nil
		}
		if api == convert.Chat {
			lines = append(lines, traceChunk(t, data))
			return nil
		}
		var ev struct {
			Type string `json:"type"`
			Seq  *int   `json:"sequence_number"`
		}
		if err := json.Unmarshal(e.Data, &ev); err != nil {
			t.Fatalf("%v in %s", err, data)
		}
		if ev.Type != string(e.Type) {
			t.Errorf("the event is called %q, and %q inside", e.Type, ev.Type)
		}
		if ev.Seq == nil || *ev.Seq != seq {
			t.Errorf("sequence_number %v, want %d, in %s", ev.Seq, seq, data)
		}
		seq++
		lines = append(lines, traceEvent(t, data))
		return nil
	}
	if err := p.Feed(stream, take); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(take); err != nil {
		t.Fatal(err)
	}
	return lines
}

// traceEvent tells a Responses event in one line: its type without "response.",
// where it belongs, and what it adds.
func traceEvent(t *testing.T, data string) string {
	t.Helper()
	var ev map[string]any
	if err := json.Unmarshal([]byte(data), &ev); err != nil {
		t.Fatal(err)
	}
	typ := ev["type"].(string)
	line := strings.TrimPrefix(typ, "response.")
	if id, ok := ev["item_id"].(string); ok {
		line += " " + id
	}
	if item, ok := ev["item"].(map[string]any); ok {
		line += fmt.Sprintf(" @%v", ev["output_index"])
		line += " " + compact(t, item)
	}
	if part, ok := ev["part"]; ok {
		line += " " + compact(t, part)
	}
	for _, name := range []string{"delta", "text", "arguments", "input", "refusal", "annotation"} {
		if v, ok := ev[name]; ok {
			line += " " + compact(t, v)
		}
	}
	if probs, ok := ev["logprobs"].([]any); ok && len(probs) > 0 {
		line += " logprobs " + compact(t, probs)
	}
	if resp, ok := ev["response"].(map[string]any); ok {
		line += fmt.Sprintf(" %v", resp["status"])
		if e, ok := resp["error"].(map[string]any); ok {
			line += " " + compact(t, e)
		}
	}
	if typ == "error" {
		if _, nested := ev["error"].(map[string]any); !nested {
			t.Errorf("the error event is not nested: %s", data)
		}
		line += " " + compact(t, ev["code"]) + " " + compact(t, ev["message"])
	}
	return line
}

// traceChunk tells a Chat chunk in one line: its delta, its finish_reason, its
// usage, or its error.
func traceChunk(t *testing.T, data string) string {
	t.Helper()
	var chunk map[string]any
	if err := json.Unmarshal([]byte(data), &chunk); err != nil {
		t.Fatal(err)
	}
	if e, ok := chunk["error"]; ok {
		if e == nil {
			t.Error("an error member in a healthy chunk: openai-go stops there")
		}
		return "error " + compact(t, e)
	}
	if chunk["id"] == "" || chunk["object"] != "chat.completion.chunk" {
		t.Errorf("not a chunk: %s", data)
	}
	line := ""
	choices := chunk["choices"].([]any)
	for _, c := range choices {
		choice := c.(map[string]any)
		line += "delta " + compact(t, choice["delta"])
		if lp := choice["logprobs"]; lp != nil {
			line += " logprobs " + compact(t, lp)
		}
		if f := choice["finish_reason"]; f != nil {
			line += fmt.Sprintf(" finish %v", f)
		}
	}
	if len(choices) == 0 {
		line += fmt.Sprintf("no choices, id %v", chunk["id"])
	}
	if u := chunk["usage"]; u != nil {
		line += " usage " + compact(t, u)
	}
	return line
}

func compact(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return sealedBlob.ReplaceAllString(string(b), "$$sealed")
}

// checkGolden compares a result with the checks that were written by hand.
func checkGolden(t *testing.T, k int, e *goldenExchange, r *goldenResult) {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range e.checks {
		path, want, ok := strings.Cut(check, " = ")
		if !ok {
			t.Fatalf("not a check: %q", check)
		}
		got := at(t, b, path)
		if want == "absent" {
			if got != nil {
				t.Errorf("exchange %d: %s is there: %s", k, path, got)
			}
			continue
		}
		if got == nil {
			t.Errorf("exchange %d: no %s\nwant %s", k, path, want)
		} else if !sameJSON(t, got, []byte(want)) {
			t.Errorf("exchange %d: %s\n got %s\nwant %s", k, path, got, want)
		}
	}
	if e.trace == nil {
		return
	}
	got := r.Trace
	if e.client == convert.Responses {
		if len(got) < 2 || got[0] != "created in_progress" || got[1] != "in_progress in_progress" {
			t.Fatalf("exchange %d: the stream begins with %q", k, got[:min(2, len(got))])
		}
		got = got[2:]
	}
	for i := range max(len(got), len(e.trace)) {
		if i >= len(got) {
			t.Errorf("exchange %d: missing line %d: %s", k, i, e.trace[i])
		} else if i >= len(e.trace) {
			t.Errorf("exchange %d: line %d too many: %s", k, i, got[i])
		} else if got[i] != e.trace[i] {
			t.Errorf("exchange %d, line %d:\n got %s\nwant %s", k, i, got[i], e.trace[i])
		}
	}
}

// at is what stands at a JSON pointer (RFC 6901), nil where nothing does.
func at(t *testing.T, doc []byte, pointer string) jsontext.Value {
	t.Helper()
	value := jsontext.Value(doc)
	for token := range jsontext.Pointer(pointer).Tokens() {
		var list []jsontext.Value
		if json.Unmarshal(value, &list) == nil && list != nil {
			var i int
			if _, err := fmt.Sscan(token, &i); err != nil || i >= len(list) {
				return nil
			}
			value = list[i]
			continue
		}
		var object map[string]jsontext.Value
		if json.Unmarshal(value, &object) != nil || object[token] == nil {
			return nil
		}
		value = object[token]
	}
	return value
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Fatalf("%v in %s", err, a)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	return reflect.DeepEqual(x, y)
}

// compareGolden compares the results with the golden file, or writes it.
func compareGolden(t *testing.T, name string, results []goldenResult) {
	t.Helper()
	b, err := json.Marshal(struct {
		Case      string         `json:"case"`
		Exchanges []goldenResult `json:"exchanges"`
	}{name, results}, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		t.Fatal(err)
	}
	b = append(sealedBlob.ReplaceAll(b, []byte("$$sealed")), '\n')
	slug := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(strings.TrimPrefix(name, "case ")), "-")
	path := filepath.Join("testdata", "golden", slug+".json")
	if updating() {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run the test with -update and read the file", err)
	}
	if !bytes.Equal(want, b) {
		t.Errorf("%s differs; run the test with -update, read the difference in git, and keep it if it is right.\n got %s\nwant %s", path, b, want)
	}
}
