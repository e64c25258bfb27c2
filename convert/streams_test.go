package convert

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/internal/fakeopenai"
	"github.com/labiium/chat2response/sse"
)

// bothAPIs in the order in which the tests name them.
var bothAPIs = []API{Chat, Responses}

// route is a fixture on its way from an upstream to a client.
type testRoute struct {
	upstream, client  API
	dialect, scenario string
	req               *Request
	turn              *Turn
	ids               int
	noUsage           bool // a Chat client did not ask for it
}

func (r *testRoute) String() string {
	return fmt.Sprintf("%s/%s/%s to %s", r.upstream, r.dialect, r.scenario, r.client)
}

// routeOf is the road of a request that suits the scenario. Its ids and its time
// are the same in each run.
func routeOf(t testing.TB, upstream, client API, dialect, scenario string) *testRoute {
	t.Helper()
	req, err := Read(client, []byte(clientRequest(client, scenario)))
	if err != nil {
		t.Fatal(err)
	}
	r := &testRoute{upstream: upstream, client: client, dialect: dialect, scenario: scenario, req: req}
	d := Dialects[strings.TrimSuffix(dialect, "-old")]
	if d == nil {
		t.Fatalf("no dialect %q", dialect)
	}
	r.turn, err = req.To(upstream, Options{Dialect: d, NewID: r.newID, Now: func() time.Time { return time.Unix(1763800000, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *testRoute) newID(prefix string) string {
	r.ids++
	return fmt.Sprintf("%s%024d", prefix, r.ids)
}

// clientRequest asks for what the scenario shows.
func clientRequest(api API, scenario string) string {
	const weather = `"description":"Returns the weather of a city.","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}`
	const place = `"name":"place","strict":true,"schema":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}`
	more := map[string]string{}
	for _, s := range []string{"tool", "tools", "tool_text", "reasoning_tool", "length_tool", "demo"} {
		more["chat/"+s] = `,"tools":[{"type":"function","function":{"name":"get_weather",` + weather + `}}]`
		more["responses/"+s] = `,"tools":[{"type":"function","name":"get_weather",` + weather + `}]`
	}
	more["chat/custom"] = `,"tools":[{"type":"custom","custom":{"name":"apply_patch","description":"Applies a patch."}}]`
	more["responses/custom"] = `,"tools":[{"type":"custom","name":"apply_patch","description":"Applies a patch."}]`
	more["chat/namespaced"] = `,"tools":[{"type":"function","function":{"name":"travel__get_weather",` + weather + `}}]`
	more["responses/namespaced"] = `,"tools":[{"type":"namespace","name":"travel","description":"Travel.","tools":[{"type":"function","name":"get_weather",` + weather + `}]}]`
	more["chat/json"] = `,"response_format":{"type":"json_schema","json_schema":{` + place + `}}`
	more["responses/json"] = `,"text":{"format":{"type":"json_schema",` + place + `}}`
	more["chat/logprobs"] = `,"logprobs":true,"top_logprobs":2`
	more["responses/logprobs"] = `,"include":["message.output_text.logprobs"],"top_logprobs":2`
	if api == Chat {
		return `{"model":"fake-` + scenario + `","messages":[{"role":"user","content":"What is the weather in Paris?"}],"stream":true,"stream_options":{"include_usage":true}` + more["chat/"+scenario] + `}`
	}
	return `{"model":"fake-` + scenario + `","input":"What is the weather in Paris?","stream":true` + more["responses/"+scenario] + `}`
}

// writes keeps what a client gets, and how it is divided.
type writes struct {
	bytes.Buffer
	faults []string
}

func (w *writes) Write(b []byte) (int, error) {
	if !bytes.HasSuffix(b, []byte("\n\n")) {
		w.faults = append(w.faults, fmt.Sprintf("a write ends within an event: %q", b[max(0, len(b)-40):]))
	}
	return w.Buffer.Write(b)
}

// running is an answer in the middle.
type running struct {
	out    writes
	sender *sse.Writer
	parser sse.Parser
	reader StreamReader
	piece  []byte
}

func (r *testRoute) start() *running {
	r.ids = 0
	x := &running{}
	x.sender = sse.NewWriter(&x.out, nil)
	x.reader = r.turn.Reader(r.req.Writer(x.sender), nil)
	x.do(x.reader.Start())
	return x
}

func (x *running) do(err error) {
	if err == nil {
		err = x.sender.Send()
	}
	if err != nil {
		x.out.faults = append(x.out.faults, err.Error())
	}
}

// feed gives the road a piece of the upstream's bytes, whose memory is not its own.
func (x *running) feed(b []byte) {
	x.piece = append(x.piece[:0], b...)
	x.do(x.parser.Feed(x.piece, x.reader.Event))
	for i := range x.piece {
		x.piece[i] = '#'
	}
}

// end ends the upstream's stream as the gateway does.
func (x *running) end(cause *Error) []byte {
	x.do(x.parser.Close(x.reader.Event))
	x.do(x.reader.Close(cause))
	return x.out.Bytes()
}

func (r *testRoute) run(cause *Error, pieces ...[]byte) []byte {
	x := r.start()
	for _, p := range pieces {
		x.feed(p)
	}
	return x.end(cause)
}

// connectionLost is what the gateway says when an upstream's connection breaks.
var connectionLost = &Error{Status: 502, Type: "server_error", Code: "server_error", Message: "The upstream's connection broke."}

// check looks at a client's stream with the eyes of all clients. It tells
// whether the stream ended as a whole answer.
func (r *testRoute) check(stream []byte) (whole bool, faults []string) {
	if r.client == Chat {
		end, faults := checkChat(stream, !r.noUsage)
		return end.err == nil, faults
	}
	end, faults := checkResponses(stream)
	return end.typ != "response.failed", faults
}

// longStream is the size in bytes above which a fixture is only sampled. Only
// OpenAI's own is taken: those of the other dialects differ in what the short
// ones show as well.
const longStream = 100_000

// eachFixture runs a test on each stream fixture with each client; under the race
// detector, which has little to see here, only on one dialect.
func eachFixture(t *testing.T, test func(t *testing.T, r *testRoute, stream []byte)) {
	dialects := fakeopenai.Dialects()
	if RaceDetector {
		dialects = []string{"generic"}
	}
	for _, upstream := range bothAPIs {
		for _, dialect := range dialects {
			t.Run(string(upstream)+"/"+dialect, func(t *testing.T) {
				t.Parallel()
				for _, scenario := range fakeopenai.Scenarios() {
					stream := fakeopenai.Stream(fakeopenai.API(upstream), dialect, scenario)
					if stream == nil || len(stream) > longStream && dialect != "openai" {
						continue
					}
					for _, client := range bothAPIs {
						test(t, routeOf(t, upstream, client, dialect, scenario), stream)
					}
				}
			})
		}
	}
}

func complain(t *testing.T, r *testRoute, what string, faults []string, stream []byte) {
	t.Helper()
	if len(faults) > 0 {
		t.Errorf("%v, %s:\n  %s\n%.6000s", r, what, strings.Join(faults, "\n  "), stream)
	}
}

// TestStreamLadder: every fixture makes a stream that no client breaks on, and
// that ends as the upstream's does.
func TestStreamLadder(t *testing.T) {
	eachFixture(t, func(t *testing.T, r *testRoute, stream []byte) {
		x := r.start()
		x.feed(stream)
		out := x.end(nil)
		whole, faults := r.check(out)
		complain(t, r, "whole", append(faults, x.out.faults...), out)
		if ends := endOf(r.upstream, stream); whole != (ends >= 0) {
			t.Errorf("%v ends as a whole answer: %v, the upstream's: %v", r, whole, ends >= 0)
		}
	})
}

// endOf is the offset at which an upstream has said that its answer is whole, or
// -1: behind the JSON of the first chunk with a finish_reason other than an
// error's, or of the terminal event.
func endOf(api API, stream []byte) int {
	at := 0
	for _, f := range bytes.SplitAfter(stream, []byte("\n\n")) {
		_, data, ok := bytes.Cut(f, []byte("data: "))
		var e struct {
			Type    string
			Error   json.RawMessage
			Choices []struct {
				Finish string `json:"finish_reason"`
			}
		}
		if ok && json.Unmarshal(data, &e) == nil {
			end := at + len(bytes.TrimRight(f, "\n"))
			if e.Error != nil || e.Type == "response.failed" {
				return -1
			}
			if api == Chat && len(e.Choices) > 0 && e.Choices[0].Finish != "" {
				if outcomeOf(e.Choices[0].Finish).status == responses.Failed {
					return -1
				}
				return end
			}
			if e.Type == "response.completed" || e.Type == "response.incomplete" {
				return end
			}
		}
		at += len(f)
	}
	return -1
}

var everywhere = flag.Bool("everywhere", false, "split and cut the streams of all fixtures at every byte, in minutes")

// TestStreamSplits: the output does not depend on how the bytes arrive. The
// parser, the only part that sees bytes, is given every fixture split at every
// point and must make the same events of it; the whole road is given every byte
// alone, the three line ends, and a sample of the splits: every 89th point, and
// all of them around the line ends of OpenAI's own fixtures. A long
// fixture is split at 100 points. With -everywhere, all others are split at every point.
func TestStreamSplits(t *testing.T) {
	eachFixture(t, func(t *testing.T, r *testRoute, stream []byte) {
		want := bytes.Clone(r.run(nil, stream))
		same := func(how string, pieces ...[]byte) {
			if got := r.run(nil, pieces...); !bytes.Equal(got, want) {
				t.Errorf("%v, %s: the output differs:\n%.3000s\nwant\n%.3000s", r, how, got, want)
			}
		}
		for _, end := range []string{"\n", "\r\n", "\r"} {
			in := bytes.ReplaceAll(stream, []byte("\n"), []byte(end))
			same(fmt.Sprintf("line ends %q", end), in)
			same(fmt.Sprintf("line ends %q, every byte alone", end), slices.Collect(slices.Chunk(in, 1))...)
		}
		same("a byte order mark", []byte("\ufeff"), stream)
		same("no final blank line", bytes.TrimRight(stream, "\n"))
		step := 89
		if len(stream) > longStream {
			step = len(stream) / 10
		}
		if *everywhere && len(stream) <= longStream {
			step = 1
		}
		for k := 1; k < len(stream); k += step {
			same(fmt.Sprintf("split at %d", k), stream[:k], stream[k:])
		}
		if r.dialect == "openai" && len(stream) < 10_000 {
			for k := 1; k < len(stream); k++ {
				if bytes.ContainsAny(stream[max(0, k-2):min(len(stream), k+2)], "\n") {
					same(fmt.Sprintf("split at %d", k), stream[:k], stream[k:])
				}
			}
		}
		if r.client == Chat { // once is enough for the parser
			parserSplits(t, r, stream)
		}
	})
}

// parserSplits splits a stream at every point.
func parserSplits(t *testing.T, r *testRoute, stream []byte) {
	type event struct{ typ, data string }
	var want []event
	var p sse.Parser
	keep := func(e sse.Event) error { want = append(want, event{string(e.Type), string(e.Data)}); return nil }
	if p.Feed(stream, keep) != nil || p.Close(keep) != nil {
		t.Errorf("%v does not parse", r)
	}
	step := 1
	if len(stream) > longStream {
		step = len(stream) / 100
	}
	n, wrong := 0, false
	compare := func(e sse.Event) error {
		wrong = wrong || n >= len(want) || string(e.Type) != want[n].typ || string(e.Data) != want[n].data
		n++
		return nil
	}
	for k := 0; k <= len(stream); k += step {
		n, wrong = 0, false
		p = sse.Parser{}
		if p.Feed(stream[:k], compare) != nil || p.Feed(stream[k:], compare) != nil || p.Close(compare) != nil || wrong || n != len(want) {
			t.Errorf("%v split at %d gives other events", r, k)
			return
		}
	}
}

// TestStreamCuts: a stream that is cut, at whatever byte, ends with exactly one
// terminal event, and not with one that says that the answer is whole, unless the
// upstream had said so.
//
// What is cut in the middle of an event is told in one run for the whole event: no
// piece of it may do anything, and the end is then that of the events before. In
// addition every 193rd byte is cut in a run of its own, and so are the bytes
// around the upstream's last word. The upstream ends regularly or breaks off, in
// turn. Of a long fixture 30 events are taken. With -everywhere, every byte of the others is cut in
// a run of its own.
func TestStreamCuts(t *testing.T) {
	eachFixture(t, func(t *testing.T, r *testRoute, stream []byte) {
		ends := endOf(r.upstream, stream)
		judge := func(k int, how string, out []byte) {
			whole, faults := r.check(out)
			complain(t, r, fmt.Sprintf("cut at %d, %s", k, how), faults, out)
			if whole != (ends >= 0 && k >= ends) {
				t.Errorf("%v, cut at %d, %s: ends as a whole answer: %v; the upstream ends at %d\n%.3000s", r, k, how, whole, ends, out)
			}
		}
		frames := bytes.SplitAfter(stream, []byte("\n\n"))
		step := 1
		if len(stream) > longStream {
			step = len(frames) / 30
		}
		at := 0
		for j, f := range frames {
			if j%step == 0 || j > len(frames)-3 {
				cause := []*Error{nil, connectionLost}[j%2]
				x := r.start()
				x.feed(stream[:at])
				if r.client == Chat { // the reader is the same for both
					cutWithin(t, r, x, f)
				}
				judge(at, fmt.Sprint("with the cause ", cause), x.end(cause))
			}
			at += len(f)
		}
		cut := func(k int) {
			cause := []*Error{nil, connectionLost}[k%2]
			judge(k, fmt.Sprint("alone, with the cause ", cause), r.run(cause, stream[:k]))
		}
		stride := 193
		if len(stream) > longStream {
			stride = len(stream) / 3
		}
		if *everywhere && len(stream) <= longStream {
			stride = 1
		}
		for k := 0; k <= len(stream); k += stride {
			cut(k)
		}
		for k := max(0, ends-3); ends >= 0 && k <= min(len(stream), ends+3); k++ {
			cut(k)
		}
	})
}

// cutWithin gives the reader every piece of an event that is cut short.
func cutWithin(t *testing.T, r *testRoute, x *running, frame []byte) {
	var whole []byte
	keep := func(e sse.Event) error { whole = bytes.Clone(e.Data); return nil }
	var p sse.Parser
	if p.Feed(frame, keep) != nil || whole == nil {
		return // a comment
	}
	before := x.out.Len()
	for k := range frame {
		p = sse.Parser{}
		half := func(e sse.Event) error {
			if bytes.Equal(e.Data, whole) {
				return nil // all of it but the blank line: the caller cuts there too
			}
			return x.reader.Event(e)
		}
		x.do(p.Feed(frame[:k], half))
		x.do(p.Close(half))
		if x.out.Len() != before {
			t.Errorf("%v: half an event makes output: %q", r, frame[:k])
			return
		}
	}
}

// TestWholeAnswers: an answer in one piece says the same as the stream of the
// same scenario, in all directions, and is replayed as a stream like any other.
func TestWholeAnswers(t *testing.T) {
	eachFixture(t, func(t *testing.T, r *testRoute, stream []byte) {
		body, status := fakeopenai.Answer(fakeopenai.API(r.upstream), r.dialect, r.scenario)
		if status != 200 || endOf(r.upstream, stream) < 0 {
			return
		}
		r.ids = 0
		resp, err := r.turn.Answer(body)
		if err != nil {
			t.Errorf("%v: %v\n%s", r, err, body)
			return
		}
		written, err := r.req.Write(resp)
		if err != nil {
			t.Errorf("%v: %v", r, err)
			return
		}
		var replayed writes
		sender := sse.NewWriter(&replayed, nil)
		if err := Replay(resp, r.req.Writer(sender)); err != nil {
			t.Error(err)
		}
		sender.Send()
		_, faults := r.check(replayed.Bytes())
		complain(t, r, "replayed", append(faults, replayed.faults...), replayed.Bytes())

		streamed := bytes.Clone(r.run(nil, stream))
		for how, out := range map[string][]byte{"stream": streamed, "replay": replayed.Bytes()} {
			if how == "stream" && r.scenario == "logprobs" && r.upstream == Chat && unstreamedLogprobs[r.dialect] {
				continue
			}
			got, want := meaning(t, r.client, written), streamMeaning(r.client, out)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%v: the answer says\n%s\nits %s\n%s", r, show(got), how, show(want))
			}
		}
	})
}

// unstreamedLogprobs are the dialects whose fixtures have log probabilities in whole
// answers and not in streams.
var unstreamedLogprobs = map[string]bool{"ollama": true, "ollama-old": true, "mistral": true, "kimi": true}

func show(v any) string {
	b, _ := json.MarshalIndent(v, "", " ")
	return string(b)
}

// meaning is what an answer says, without ids of its own making and without time.
func meaning(t *testing.T, api API, body []byte) any {
	var a jsonMap
	if err := json.Unmarshal(body, &a); err != nil {
		t.Errorf("%v: %s", err, body)
		return nil
	}
	if api == Responses {
		return responseMeaning(a)
	}
	choice, _ := listOf(a["choices"])[0].(jsonMap)
	m, _ := choice["message"].(jsonMap)
	end := chatEnd{
		finish: strOf(choice["finish_reason"]), content: strOf(m["content"]), refusal: strOf(m["refusal"]), reasoning: strOf(m["reasoning_content"]),
		annotations: listOf(m["annotations"]), details: listOf(m["reasoning_details"]),
	}
	if lp, _ := choice["logprobs"].(jsonMap); lp != nil {
		end.logprobs = listOf(lp["content"])
	}
	for _, v := range listOf(m["tool_calls"]) {
		c, _ := v.(jsonMap)
		body, _ := c[strOf(c["type"])].(jsonMap)
		end.calls = append(end.calls, chatCallSeen{strOf(c["id"]), strOf(c["type"]), strOf(body["name"]), strOf(body["arguments"]) + strOf(body["input"])})
	}
	end.usage, _ = a["usage"].(jsonMap)
	return chatMeaning(end)
}

func streamMeaning(api API, stream []byte) any {
	if api == Responses {
		end, _ := checkResponses(stream)
		return responseMeaning(end.response)
	}
	end, _ := checkChat(stream, true)
	return chatMeaning(end)
}

func chatMeaning(end chatEnd) any {
	return jsonMap{
		"finish": end.finish, "content": end.content, "refusal": end.refusal, "reasoning": end.reasoning, "calls": withoutIDs(end.calls),
		"annotations": append([]any{}, end.annotations...), "logprobs": append([]any{}, end.logprobs...), "usage": end.usage, "details": len(end.details),
	}
}

func withoutIDs(calls []chatCallSeen) (out []chatCallSeen) {
	for _, c := range calls {
		c.ID = ""
		out = append(out, c)
	}
	return out
}

func responseMeaning(r jsonMap) any {
	var items []any
	for _, v := range listOf(r["output"]) {
		it, _ := v.(jsonMap)
		kept := jsonMap{}
		for k, v := range it {
			switch k {
			case "id", "call_id", "encrypted_content":
			default:
				kept[k] = v
			}
		}
		items = append(items, kept)
	}
	return jsonMap{"status": r["status"], "output": items, "usage": r["usage"], "incomplete_details": r["incomplete_details"]}
}
