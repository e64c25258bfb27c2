package convert

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/internal/fakeopenai"
	"github.com/labiium/chat2response/sse"
)

// M6: an event that begins as JSON and is none, or that is not one of its API, fails the answer. It is not passed over.
func TestDamagedChunksFail(t *testing.T) {
	begin, end := content("a"), []string{content("c"), finish("stop"), "[DONE]"}
	for name, bad := range map[string]string{
		"torn":              `{"choices":[{"index":0,"delta":{"content":"b`,
		"torn in a name":    `{"choices":[{"index":0,"del`,
		"one brace":         `{`,
		"a NUL":             "{\"choices\":[{\"index\":0,\"delta\":\x00{\"content\":\"b\"}}]}",
		"NaN":               `{"choices":[{"index":0,"delta":{"content":"b"},"logprobs":{"content":[{"token":"b","logprob":NaN,"bytes":null,"top_logprobs":[]}]}}]}`,
		"-Infinity":         `{"choices":[{"index":0,"delta":{"content":"b"},"logprobs":{"content":[{"token":"b","logprob":-Infinity}]}}]}`,
		"a trailing comma":  `{"choices":[{"index":0,"delta":{"content":"b"},}]}`,
		"two objects":       content("b") + content("B"),
		"no first byte":     content("b")[1:],
		"a changed first":   "z" + content("b")[1:],
		"content a number":  chunk(`{"content":7}`),
		"content an object": chunk(`{"content":{"text":"b"}}`),
		"content true":      chunk(`{"content":true}`),
		"parts of numbers":  chunk(`{"content":[7]}`),
		"in a list":         "[" + content("b") + "]",
		"a changed name":    chunk(`{"conteot":"b"}`),
		"an escaped name":   chunk(`{"c\u006fntenT":"b"}`),
		"changed choices":   `{"choides":[{"index":0,"delta":{"content":"b"}}]}`,
		"a changed delta":   `{"choices":[{"index":0,"celta":{"content":"b"}}]}`,
		"a changed index":   `{"choices":[{"index":1,"delta":{"content":"b"}}]}`,
		"changed arguments": toolCalls(`{"index":0,"id":"a","function":{"name":"f","brguments":"{}"}}`),
	} {
		for _, client := range bothAPIs {
			c := streamCase{in: append([]string{begin, bad}, end...)}
			if r := outcomeFor(t, c.play(t, Chat, client), client); r.whole || !strings.HasPrefix(r.text, "a") {
				t.Errorf("%s: %s: %+v", name, client, r)
			}
		}
	}
	// What is whole in another way than usual stays so.
	for name, good := range map[string]string{
		"parts without a type": chunk(`{"content":[{"text":"b"}]}`), "parts of a type of its own": chunk(`{"content":[{"type":"output_text","text":"b"}]}`),
		"extensions": `{"choices":[{"index":0,"delta":{"content":"b","channel":"final","contents":[],"test":1}}],"next":{"contemt":1}}`,
		"arguments":  `{"choices":[{"index":0,"delta":{"content":"b","tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":{"test":1,"next":2,"nane":3}}}]}}]}`,
		"two choices": `{"choices":[{"index":0,"delta":{"content":"b"}},{"index":1,"delta":{"content":"B"}}]}` + "\n\ndata: " +
			`{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}`,
	} {
		c := streamCase{in: append([]string{begin, good}, end...)}
		if r := outcomeFor(t, c.play(t, Chat, Responses), Responses); !r.whole || strings.ReplaceAll(r.text, "c", "") != "ab" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	// At the end of the stream half an event is what a cut leaves: behind the finish_reason nothing is lost by it.
	c := streamCase{in: []string{begin, finish("stop"), `{"choices":[],"usage":{"prompt_to`}}
	if r := outcomeFor(t, c.play(t, Chat, Responses), Responses); !r.whole {
		t.Errorf("cut in the usage: %+v", r)
	}
}

// M6, and upstream.r_torn_delta_empty_output: the same of a Responses upstream, whose terminal event may have no output.
func TestDamagedEventsFail(t *testing.T) {
	delta := func(text string) string { return deltaOf("output_text", "m", 0, text) }
	for name, bad := range map[string]string{
		"torn":            delta("b")[:len(delta("b"))-4],
		"one brace":       "{",
		"trailing comma":  strings.TrimSuffix(delta("b"), "}") + ",}",
		"two objects":     delta("b") + delta("B"),
		"a changed first": "z" + delta("b")[1:],
		"a changed name":  strings.Replace(delta("b"), `"delta":`, `"dflta":`, 1),
		"a changed type":  strings.Replace(delta("b"), `output_text.delta`, `output_text.delte`, 1),
		"delta a number":  strings.Replace(delta("b"), `"delta":"b"`, `"delta":7`, 1),
		"in a list":       "[" + delta("b") + "]",
	} {
		for _, output := range [][]string{nil, {messageItem("m", "abc")}, {messageItem("m", "ac")}} {
			for _, client := range bothAPIs {
				c := streamCase{in: []string{opened(""), added(0, messageItem("m", "")), delta("a"), bad, delta("c"), ended("completed", output...)}}
				if r := outcomeFor(t, c.play(t, Responses, client), client); r.whole {
					t.Errorf("%s: %s: %+v", name, client, r)
				}
			}
		}
	}
	c := streamCase{in: []string{opened(""), added(0, strings.Replace(messageItem("m", ""), `"message"`, `"messbge"`, 1)), delta("a"), ended("completed")}}
	if r := outcomeFor(t, c.play(t, Responses, Responses), Responses); r.whole {
		t.Errorf("a changed type of an item: %+v", r)
	}
	// An output that cannot be read is not none.
	broken := strings.Replace(ended("completed", messageItem("m", "b")), `"content":[`, `"content":7,"contents":[`, 1)
	c = streamCase{in: []string{opened(""), broken}}
	if r := outcomeFor(t, c.play(t, Responses, Responses), Responses); r.whole {
		t.Errorf("an output that cannot be read: %+v", r)
	}
	whole := `{"id":"resp_1","object":"response","status":"completed","model":"m","output":[{"type":"message","id":"m","role":"assistant","content":7}]}`
	if resp, err := routeOf(t, Responses, Responses, "generic", "text").turn.Answer([]byte(whole)); err == nil {
		t.Errorf("an output that cannot be read, whole: %+v", resp)
	}
	// A delta that never came shows where the whole text is told.
	c = streamCase{in: []string{opened(""), added(0, messageItem("m", "")), delta("a"), delta("c"), ended("completed", messageItem("m", "abc"))}}
	if r := outcomeFor(t, c.play(t, Responses, Responses), Responses); r.whole {
		t.Errorf("a hole: %+v", r)
	}
}

// M6: remarks of servers and proxies are passed over, and counted.
func TestRemarksAreCounted(t *testing.T) {
	for _, upstream := range bothAPIs {
		r := routeOf(t, upstream, Responses, "generic", "text")
		stream := fakeopenai.Stream(fakeopenai.API(upstream), "generic", "text")
		first := bytes.Index(stream, []byte("\n\n")) + 2
		remarks := "data: working on it\n\ndata: <p>hello</p>\n\ndata: 7\n\ndata: []\n\ndata: \x00\x01\n\n"
		out := r.run(nil, stream[:first], []byte(remarks), stream[first:])
		if whole, faults := r.check(out); !whole || len(faults) > 0 || r.turn.Remarks() != 5 {
			t.Errorf("%s: whole %v, %d remarks, %v", upstream, whole, r.turn.Remarks(), faults)
		}
	}
}

// outcomeSeen is what a client has of an answer.
type outcomeSeen struct {
	whole bool
	text  string // of messages, reasoning left out
	calls string
}

func outcomeFor(t *testing.T, stream []byte, client API) (o outcomeSeen) {
	t.Helper()
	if client == Chat {
		end, faults := checkChat(stream, false)
		if len(faults) > 0 {
			t.Errorf("%v\n%s", faults, stream)
		}
		for _, c := range end.calls {
			o.calls += fmt.Sprintf("%+v;", c)
		}
		return outcomeSeen{end.err == nil, end.content, o.calls}
	}
	end, faults := checkResponses(stream)
	if len(faults) > 0 {
		t.Errorf("%v\n%s", faults, stream)
	}
	for _, v := range listOf(end.response["output"]) {
		it, _ := v.(jsonMap)
		if isCall(strOf(it["type"])) {
			o.calls += strOf(it["name"]) + strOf(it["arguments"]) + strOf(it["input"]) + strOf(it["status"]) + ";"
		}
		for _, part := range listOf(it["content"]) {
			if p, _ := part.(jsonMap); it["type"] == "message" {
				o.text += strOf(p["text"])
			}
		}
	}
	o.whole = end.typ != "response.failed"
	return o
}

// M6: whatever byte of an event is changed, its text is there, changed perhaps itself, or the answer has failed; it is
// never completed without it. The bytes of server-sent events around the JSON are left out: what has no field `data` is
// no event to anybody.
func TestChangedBytes(t *testing.T) {
	step, dialects := 53, []string{"generic", "openai", "mistral"} // what differs in others differs in the request
	if *everywhere {
		step, dialects = 1, fakeopenai.Dialects()
	}
	for _, upstream := range bothAPIs {
		for _, dialect := range dialects {
			t.Run(string(upstream)+"/"+dialect, func(t *testing.T) {
				t.Parallel()
				stream := fakeopenai.Stream(fakeopenai.API(upstream), dialect, "text")
				if stream == nil || len(stream) > longStream {
					return
				}
				client := Responses
				honest := outcomeFor(t, routeOf(t, upstream, client, dialect, "text").run(nil, stream), client)
				frames := bytes.SplitAfter(stream, []byte("\n\n"))
				at, seed := 0, 0
				for _, f := range frames {
					data := bytes.Index(f, []byte("data: "))
					for k := data + 6; data >= 0 && k < len(f)-2; k++ {
						if seed++; seed%step != 0 {
							continue
						}
						for _, c := range []byte{f[k] ^ 1, '"', '\\', '}', 0, 0xff} {
							if c == f[k] || c == '\n' || c == '\r' {
								continue
							}
							changed := bytes.Clone(stream)
							changed[at+k] = c
							got := outcomeFor(t, routeOf(t, upstream, client, dialect, "text").run(nil, changed), client)
							if got.whole && !sameButOne(got.text, honest.text) {
								t.Errorf("%q for %q at %d of %q: completed with %q", c, f[k], k, f, got.text)
							}
						}
					}
					at += len(f)
				}
			})
		}
	}
}

// sameButOne reports whether two texts are the same but for one place of a few characters: an escape of six bytes may
// be changed, to less or more.
func sameButOne(got, want string) bool {
	head := 0
	for head < len(got) && head < len(want) && got[head] == want[head] {
		head++
	}
	got, want = got[head:], want[head:]
	for len(got) > 0 && len(want) > 0 && got[len(got)-1] == want[len(want)-1] {
		got, want = got[:len(got)-1], want[:len(want)-1]
	}
	return len(want) <= 6 && (want == "" || len(want) <= len(got)+3)
}

// upstream.call_cut_by_*: a call that was cut in its arguments is incomplete, whatever finish_reason says; one without
// arguments, and one whose arguments never were JSON, are what they were.
func TestCutCalls(t *testing.T) {
	for name, c := range map[string]struct {
		more, args, want string
		name             string
	}{
		"cut":            {"", `{\"a\":`, "incomplete", "f"},
		"cut in a text":  {"", `{\"a\":\"b`, "incomplete", "f"},
		"too many ends":  {"", `{\"a\":1}}`, "incomplete", "f"},
		"whole":          {"", `{\"a\":1}`, "completed", "f"},
		"none":           {"", ``, "completed", "f"},
		"no JSON":        {"", `ls`, "completed", "f"},
		"a cut input":    {customTools, `{\"input\":\"b`, "incomplete", "patch"},
		"a cut form":     {customTools, `{\"inp`, "incomplete", "patch"},
		"a whole input":  {customTools, `{\"input\":\"b\"}`, "completed", "patch"},
		"a bare input":   {customTools, `*** Begin {`, "completed", "patch"},
		"a cut parallel": {"", `{\"tool_uses\":[{`, "incomplete", parallelName},
	} {
		for _, reason := range []string{"tool_calls", "stop"} {
			sc := streamCase{more: c.more, in: []string{toolCalls(`{"index":0,"id":"a","function":{"name":"` + c.name + `","arguments":"` + c.args + `"}}`), finish(reason), "[DONE]"}}
			end, faults := checkResponses(sc.play(t, Chat, Responses))
			output := listOf(end.response["output"])
			if len(faults) > 0 || len(output) != 1 || output[0].(jsonMap)["status"] != c.want {
				t.Errorf("%s, %s: %v %v", name, reason, faults, output)
			}
		}
	}
}

// dos.endless_text: what is kept of an answer is on an account, and bounded without one; an answer that has no room
// fails, with what the account says.
func TestKeepingIsOnAccount(t *testing.T) {
	pieces := map[API]map[string]func(i int) string{
		Chat: {
			"text":      func(int) string { return content(strings.Repeat("some words ", 1000)) },
			"reasoning": func(int) string { return chunk(`{"reasoning_content":"` + strings.Repeat("some words ", 1000) + `"}`) },
			"blanks":    func(int) string { return content(strings.Repeat(" ", 10_000)) },
			"arguments": func(int) string {
				return toolCalls(`{"index":0,"id":"a","function":{"name":"f","arguments":"` + strings.Repeat("some words ", 1000) + `"}}`)
			},
			"nameless arguments": func(int) string {
				return toolCalls(`{"index":0,"id":"a","function":{"arguments":"` + strings.Repeat("some words ", 1000) + `"}}`)
			},
			"calls": func(i int) string {
				return toolCalls(fmt.Sprintf(`{"index":%d,"id":"a%d","function":{"name":"f","arguments":"{}"}}`, i, i))
			},
			"annotations": func(int) string {
				return chunk(`{"annotations":[{"type":"url_citation","url_citation":{"start_index":0,"end_index":1,"url":"u","title":"t"}}]}`)
			},
		},
		Responses: {
			"text": func(int) string { return deltaOf("output_text", "m", 0, strings.Repeat("some words ", 1000)) },
			"reasoning": func(int) string {
				return deltaOf("reasoning_summary_text", "r", 0, strings.Repeat("some words ", 1000))
			},
			"items": func(i int) string { return added(i, messageItem(fmt.Sprint("m", i), "")) },
			"parts": func(i int) string { return partAdded("m", 0, i) },
		},
	}
	full := &Error{Status: 503, Type: "server_error", Code: "overloaded", Message: "There is no room."}
	for upstream, kinds := range pieces {
		for kind, piece := range kinds {
			for _, client := range bothAPIs {
				var asked, calls int64
				hold := func(n int64) error {
					calls++
					if asked += n; asked > 8*heldWeight*heldStep {
						return full
					}
					return nil
				}
				c := streamCase{options: Options{Hold: hold}}
				if upstream == Responses {
					c.in = append(c.in, opened(""), added(0, messageItem("m", "")))
				}
				for i := range 1500 {
					c.in = append(c.in, piece(i))
				}
				out := c.play(t, upstream, client)
				if !bytes.Contains(out, []byte("There is no room.")) || calls != 9 || asked != 9*heldWeight*heldStep {
					t.Errorf("%s, %s to %s: asked %d times for %d bytes: %.300s", kind, upstream, client, calls, asked, out[max(0, len(out)-300):])
				}
				// A small answer asks for nothing.
				calls = 0
				c.in = c.in[:min(len(c.in), 3)]
				if c.play(t, upstream, client); calls != 0 {
					t.Errorf("%s, %s to %s: asked %d times for a small answer", kind, upstream, client, calls)
				}
			}
		}
	}
	// An error of another kind is a failure too, and whole answers are on the account.
	for _, upstream := range bothAPIs {
		req, err := Read(Responses, []byte(`{"model":"m","input":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		turn, err := req.To(upstream, Options{Hold: func(int64) error { return errors.New("no room at all") }})
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Repeat("some words ", 20_000)
		body := `{"choices":[{"index":0,"message":{"role":"assistant","content":"` + text + `"},"finish_reason":"stop"}]}`
		if upstream == Responses {
			body = `{"id":"resp_1","object":"response","status":"completed","model":"m","output":[` + messageItem("m", text) + `]}`
		}
		if _, err = turn.Answer([]byte(body)); err == nil || err.Error() != "no room at all" {
			t.Errorf("a whole answer from %s: %v", upstream, err)
		}
	}
}

// dos.endless_text: without an account 64 MiB are kept.
func TestKeepingIsBounded(t *testing.T) {
	req, err := Read(Responses, []byte(`{"model":"m","input":"x","stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, upstream := range bothAPIs {
		turn, err := req.To(upstream, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var last *responses.Response
		sent := 0
		reader := turn.Reader(func(e *responses.Event) error {
			sent += len(e.Delta)
			if responses.Terminal(e.Type) {
				last = e.Response
			}
			return nil
		}, nil)
		piece := content(strings.Repeat("some words ", 10_000))
		if upstream == Responses {
			piece = deltaOf("output_text", "m", 0, strings.Repeat("some words ", 10_000))
		}
		for i := 0; i < 1000 && last == nil; i++ {
			if err := reader.Event(sse.Event{Data: []byte(piece)}); err != nil {
				t.Fatal(err)
			}
		}
		if last == nil || last.Status != responses.Failed || last.Error.Message != tooLong.Message || sent > maxKept || sent < maxKept/2 {
			t.Errorf("%s: %d bytes", upstream, sent)
		}
	}
}

// BenchmarkKeeping says how many bytes of memory an answer takes for each of its text, as a Responses client gets it:
// live/B before its end, and allocated/B from there on, with the buffer that its last events are written into.
func BenchmarkKeeping(b *testing.B) {
	req, err := Read(Responses, []byte(`{"model":"m","input":"x","stream":true}`))
	if err != nil {
		b.Fatal(err)
	}
	const n, size = 1000, 8 << 10
	piece := []byte(content(strings.Repeat("a few wo", size/8)))
	for b.Loop() {
		turn, err := req.To(Chat, Options{})
		if err != nil {
			b.Fatal(err)
		}
		var before, middle, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		w := sse.NewWriter(discard{}, nil)
		reader := turn.Reader(req.Writer(w), nil)
		for range n {
			reader.Event(sse.Event{Data: piece})
			w.Send()
		}
		runtime.GC()
		runtime.ReadMemStats(&middle)
		reader.Event(sse.Event{Data: []byte(finish("stop"))})
		reader.Event(sse.Event{Data: []byte("[DONE]")})
		runtime.ReadMemStats(&after)
		w.Send()
		runtime.KeepAlive(reader)
		b.ReportMetric(float64(middle.HeapAlloc-before.HeapAlloc)/(n*size), "live/B")
		b.ReportMetric(float64(after.TotalAlloc-middle.TotalAlloc)/(n*size), "allocated/B")
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
