package convert_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/openai/openai-go/v3"
	sdk "github.com/openai/openai-go/v3/responses"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/sse"
)

// The tests of this file hold the types of OpenAI's own SDK against what really
// becomes of each member: a sample of it is translated, and the target must have
// it, or the report or the error must name it. A member, item, tool or event that
// the SDK has and these tables have not is a failure: add a sample that says what
// becomes of it, and make it so.

// sample is a member with a value that is not neutral, and what becomes of it.
type sample struct {
	path  string // as walkSDK tells it
	value string // JSON; empty: what the setting has there
	// want is "to /path = JSON": the upstream's request has it there;
	// "report param=what": it is reported; "refuse param": it is an error;
	// "silent why": it is left out without a word, since nothing is lost.
	// A star behind the first word: and so are all members below the path.
	want string
}

// setting is a request in which the samples below a path can stand.
type setting struct {
	prefix string
	body   string
	at     string // where in the body that which the prefix names stands (JSON pointer)
}

// complete is one direction of translation.
type complete struct {
	root             reflect.Type
	client, upstream convert.API
	settings         []setting
	samples          []sample
}

func TestCompleteChat(t *testing.T) {
	complete{reflect.TypeFor[openai.ChatCompletionNewParams](), convert.Chat, convert.Responses, chatSettings, chatSamples}.test(t)
}

func TestCompleteResponses(t *testing.T) {
	complete{reflect.TypeFor[sdk.ResponseNewParams](), convert.Responses, convert.Chat, responsesSettings, responsesSamples}.test(t)
}

func (c complete) test(t *testing.T) {
	samples := map[string]sample{}
	for _, s := range c.samples {
		if _, twice := samples[s.path]; twice {
			t.Errorf("two samples for %s", s.path)
		}
		samples[s.path] = s
	}
	covered := func(path string) bool { return strings.HasSuffix(keyword(samples[path].want), "*") }
	found := map[string]bool{}
	for _, f := range walkSDK(c.root, "", covered, nil) {
		found[f.path] = true
		if _, ok := samples[f.path]; !ok && !isBranch(f.path, samples) {
			t.Errorf("the SDK has %q (%v), and this test has no sample of it: say in %v what becomes of it, and make it so", f.path, f.typ, reflect.TypeOf(c))
		}
	}
	for _, s := range c.samples {
		if !found[s.path] {
			t.Errorf("the SDK has no %q any more: remove the sample, or mark one above it with a star", s.path)
		}
		t.Run(s.path, func(t *testing.T) { c.check(t, s) })
	}
	t.Logf("%d members, %d samples", len(found), len(c.samples))
}

// isBranch tells of a path that has no sample since those below it have.
func isBranch(path string, samples map[string]sample) bool {
	for p := range samples {
		if rest, ok := strings.CutPrefix(p, path); ok && (rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}

func keyword(want string) string {
	word, _, _ := strings.Cut(want, " ")
	return word
}

var brackets = regexp.MustCompile(`\[[^\]]*\]`)

// body is the request in which the sample stands.
func (c complete) body(t *testing.T, s sample) []byte {
	t.Helper()
	var in setting
	for _, e := range c.settings {
		rest, ok := strings.CutPrefix(s.path, e.prefix)
		if ok && (rest == "" || e.prefix == "" || rest[0] == '.' || rest[0] == '[') && (in.body == "" || len(e.prefix) > len(in.prefix)) {
			in = e
		}
	}
	if s.value == "" {
		return []byte(in.body)
	}
	rest := strings.TrimPrefix(brackets.ReplaceAllString(s.path[len(in.prefix):], ""), ".")
	pointer := in.at
	if rest != "" {
		pointer += "/" + strings.ReplaceAll(rest, ".", "/")
	}
	var doc, value any
	if err := json.Unmarshal([]byte(in.body), &doc); err != nil {
		t.Fatalf("%v in the setting %q", err, in.prefix)
	}
	if err := json.Unmarshal([]byte(s.value), &value); err != nil {
		t.Fatalf("%v in the sample %q", err, s.path)
	}
	put(t, doc, strings.Split(pointer, "/")[1:], value)
	b, err := json.Marshal(doc, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// put sets what stands at a path, and makes the objects on the way to it.
func put(t *testing.T, doc any, path []string, value any) {
	t.Helper()
	switch doc := doc.(type) {
	case map[string]any:
		if len(path) == 1 {
			doc[path[0]] = value
			return
		}
		if doc[path[0]] == nil {
			doc[path[0]] = map[string]any{}
		}
		put(t, doc[path[0]], path[1:], value)
	case []any:
		var i int
		if _, err := fmt.Sscan(path[0], &i); err != nil {
			t.Fatal(err)
		}
		if len(path) == 1 {
			doc[i] = value
			return
		}
		put(t, doc[i], path[1:], value)
	default:
		t.Fatalf("%v stands where an object should be", doc)
	}
}

func (c complete) check(t *testing.T, s sample) {
	body := c.body(t, s)
	var turn *convert.Turn
	req, err := convert.Read(c.client, body)
	if err == nil {
		turn, err = req.To(c.upstream, convert.Options{Dialect: convert.Dialects["openai"]})
	}
	word := strings.TrimSuffix(keyword(s.want), "*")
	_, want, _ := strings.Cut(s.want, " ")
	if word == "refuse" {
		var e *convert.Error
		if !errors.As(err, &e) {
			t.Fatalf("not refused: %s", body)
		}
		if e.Param != want && !strings.Contains(e.Message, want) {
			t.Errorf("refused without naming %q: param %q, %s", want, e.Param, e.Message)
		}
		return
	}
	if err != nil {
		t.Fatalf("%v\nin %s", err, body)
	}
	var report []string
	for _, loss := range turn.Report {
		report = append(report, loss.String())
	}
	switch word {
	case "to":
		path, value, ok := strings.Cut(want, " = ")
		if !ok {
			t.Fatalf("not an expectation: %q", s.want)
		}
		if got := at(t, turn.Body, path); got == nil || !sameJSON(t, got, []byte(value)) {
			t.Errorf("%s is %s, want %s\nin %s\nout %s", path, got, value, body, turn.Body)
		}
		if report != nil {
			t.Errorf("reported, and carried over too: %q", report)
		}
	case "report":
		if !slices.Contains(report, want) {
			t.Errorf("the report %q does not have %q\nin %s\nout %s", report, want, body, turn.Body)
		}
	case "silent":
		if report != nil || want == "" {
			t.Errorf("not silent, or without a reason: %q", report)
		}
	default:
		t.Fatalf("what is %q?", s.want)
	}
}

// typesOf are the values of the member type of a union's variants, as the methods
// of the SDK's union tell them.
func typesOf(t *testing.T, union reflect.Type) []string {
	t.Helper()
	var types []string
	for i := range union.NumMethod() {
		m := union.Method(i)
		if !strings.HasPrefix(m.Name, "As") || m.Name == "AsAny" || m.Type.NumOut() != 1 || m.Type.Out(0).Kind() != reflect.Struct {
			continue
		}
		// The type is a constant of the variant's; where it is not, the method has
		// its name.
		tag := strings.ToLower(capital.ReplaceAllString(strings.TrimPrefix(m.Name, "As"), "${1}_$2"))
		if f, ok := m.Type.Out(0).FieldByName("Type"); ok {
			if constant, ok := constantOf(f.Type); ok {
				tag = constant
			}
		}
		types = append(types, tag)
	}
	slices.Sort(types)
	return types
}

var capital = regexp.MustCompile(`([a-z])([A-Z])`)

// TestCompleteEvents: each event of the SDK's goes through from a Responses
// upstream to a Responses client, and makes a chunk for a Chat client or is
// ignored for a reason.
func TestCompleteEvents(t *testing.T) {
	types := typesOf(t, reflect.TypeFor[sdk.ResponseStreamEventUnion]())
	for _, typ := range types {
		e, ok := eventSamples[typ]
		if !ok {
			t.Errorf("the SDK has the event %q, and this test does not: say in eventSamples what a Chat client sees of it", typ)
			continue
		}
		t.Run(typ, func(t *testing.T) {
			got := playEvent(t, convert.Responses, typ, e)
			passes := slices.ContainsFunc(got, func(data string) bool { return strings.Contains(data, `"type":"`+typ+`"`) })
			if !passes {
				t.Errorf("a Responses client does not get it: %q", got)
			}
			before := 0
			if typ != responses.EventCreated { // the first chunk, with the role
				before++
			}
			if typ != responses.EventItemAdded && (e.item == functionItem || e.item == customItem) {
				before++ // the announcement of the call
			}
			chunks := len(playEvent(t, convert.Chat, typ, e)) - before
			if want := e.ignored == ""; (chunks > 0) != want {
				t.Errorf("a Chat client gets %d chunks, and the reason to ignore it is %q", chunks, e.ignored)
			}
		})
	}
	for typ := range eventSamples {
		if !slices.Contains(types, typ) {
			t.Errorf("the SDK has no event %q any more", typ)
		}
		if !responses.Known(typ) && eventSamples[typ].ignored == "" && typ != responses.EventError {
			t.Errorf("%q makes a chunk, and package responses does not know its members", typ)
		}
	}
	t.Logf("%d events", len(types))
}

// playEvent sends one event, behind what must come before it, and returns the
// data of what the client gets.
func playEvent(t *testing.T, client convert.API, typ string, e eventSample) []string {
	t.Helper()
	body := `{"model":"m","input":"x","stream":true}`
	if client == convert.Chat {
		body = `{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}`
	}
	req, err := convert.Read(client, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	turn, err := req.To(convert.Responses, convert.Options{})
	if err != nil {
		t.Fatal(err)
	}
	response := func(status string) string {
		return `{"id":"resp_1","object":"response","created_at":1,"status":"` + status + `","model":"m","output":[]}`
	}
	lines := []string{`{"type":"response.created","response":` + response("in_progress") + `}`}
	if typ != responses.EventCreated && e.item != "" && typ != responses.EventItemAdded {
		lines = append(lines, `{"type":"response.output_item.added","output_index":0,"item":`+e.item+`}`)
	}
	if strings.Contains(typ, "output_text") || strings.Contains(typ, "refusal") {
		lines = append(lines, `{"type":"response.content_part.added","item_id":"it_1","output_index":0,"content_index":0,"part":{"type":"output_text","text":""}}`)
	}
	item := e.item
	if item == "" {
		item = `{"type":"message","id":"it_1","role":"assistant","content":[]}`
	}
	members := e.members
	if members == "" {
		members = `"delta":"d","text":"t","refusal":"r","arguments":"{}","input":"i","part":{"type":"output_text","text":""},"annotation":{"type":"url_citation","url":"u","title":"t","start_index":0,"end_index":1}`
	}
	last := strings.TrimPrefix(typ, "response.")
	event := `{"type":"` + typ + `","item_id":"it_1","output_index":0,"content_index":0,"summary_index":0,"item":` + item + `,"response":` + response(last) + `,` + members + `}`
	if typ != responses.EventCreated {
		lines = append(lines, event)
	}
	var out bytes.Buffer
	w := sse.NewWriter(&out, nil)
	reader := turn.Reader(req.Writer(w), nil)
	var p sse.Parser
	for _, line := range lines {
		if err := p.Feed([]byte("data: "+line+"\n\n"), reader.Event); err != nil {
			t.Fatal(err)
		}
	}
	if typ == responses.EventError { // it is told when the stream ends
		if err := reader.Close(nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Send(); err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := new(sse.Parser).Feed(out.Bytes(), func(e sse.Event) error {
		got = append(got, string(e.Data))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

// TestCompleteOutput: each output item of the SDK's goes through to a Responses
// client as it is, and is seen by a Chat client or ignored for a reason.
func TestCompleteOutput(t *testing.T) {
	types := typesOf(t, reflect.TypeFor[sdk.ResponseOutputItemUnion]())
	for _, typ := range types {
		o, ok := outputSamples[typ]
		if !ok {
			t.Errorf("the SDK has the output item %q, and this test does not: say in outputSamples what a Chat client sees of it", typ)
			continue
		}
		t.Run(typ, func(t *testing.T) {
			item := o.item
			if item == "" {
				item = `{"type":"` + typ + `","id":"it_1","status":"completed","new_member":{"a":null}}`
			}
			answer := []byte(`{"id":"resp_1","object":"response","created_at":1,"status":"completed","model":"m","output":[` + item + `]}`)
			through := playAnswer(t, convert.Responses, answer)
			if got := at(t, through, "/output/0"); !sameJSON(t, got, []byte(item)) {
				t.Errorf("a Responses client gets %s, want %s", got, item)
			}
			if o.refused != "" {
				var failure *convert.Error
				if _, err := tryAnswer(t, convert.Chat, answer); !errors.As(err, &failure) || failure.Status != 502 || !strings.Contains(failure.Message, typ) {
					t.Errorf("a Chat client gets no error that names it, but %v", err)
				}
				return
			}
			message := at(t, playAnswer(t, convert.Chat, answer), "/choices/0/message")
			if empty := `{"role":"assistant","content":null,"refusal":null,"annotations":[]}`; o.ignored != "" {
				if !sameJSON(t, message, []byte(empty)) {
					t.Errorf("not ignored: %s", message)
				}
				return
			}
			if got := at(t, message, o.path); got == nil || !sameJSON(t, got, []byte(o.value)) {
				t.Errorf("%s of %s is not %s", o.path, message, o.value)
			}
		})
	}
	t.Logf("%d output items", len(types))
}

func playAnswer(t *testing.T, client convert.API, answer []byte) jsontext.Value {
	t.Helper()
	out, err := tryAnswer(t, client, answer)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryAnswer(t *testing.T, client convert.API, answer []byte) (jsontext.Value, error) {
	t.Helper()
	body := `{"model":"m","input":"x"}`
	if client == convert.Chat {
		body = `{"model":"m","messages":[{"role":"user","content":"x"}]}`
	}
	req, err := convert.Read(client, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	turn, err := req.To(convert.Responses, convert.Options{})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := turn.Answer(answer)
	if err != nil {
		t.Fatal(err)
	}
	return req.Write(resp)
}

// TestCompleteInput: each input item that the SDK's union names has a reader of
// its own; that samples exist of all is [TestCompleteResponses]'s.
func TestCompleteInput(t *testing.T) {
	for _, typ := range typesOf(t, reflect.TypeFor[sdk.ResponseInputItemUnion]()) {
		if typ == "input_message" {
			typ = "message" // its second form
		}
		body := `{"model":"m","input":[{"role":"user","content":"x"},{"type":"` + typ + `"}]}`
		req, err := convert.Read(convert.Responses, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		_, err = req.To(convert.Chat, convert.Options{})
		if err != nil && strings.Contains(err.Error(), "Supported values are") {
			t.Errorf("items of type %s are not known: %v", typ, err)
		}
	}
}
