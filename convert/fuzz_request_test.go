package convert_test

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert"
)

// requestSeeds are the requests of this directory's other tests.
func requestSeeds(client convert.API) []string {
	var seeds []string
	for _, c := range goldenCases {
		for _, e := range c.exchanges {
			if e.client == client {
				seeds = append(seeds, e.request)
			}
		}
	}
	for _, f := range fates {
		if f.client == client {
			seeds = append(seeds, f.body)
		}
	}
	settings := chatSettings
	if client == convert.Responses {
		settings = responsesSettings
	}
	for _, s := range settings {
		seeds = append(seeds, s.body)
	}
	return append(seeds, `{"model":"m","input":"x","":[]}`, `{"model":"m","messages":[{"role":"user","content":"x","":1}],"":[]}`, ``, `{`, `{}`, `[]`, `null`, `{"model":"m"}`, strings.Repeat(`{"a":`, 300))
}

func FuzzReadChat(f *testing.F)      { fuzzRead(f, convert.Chat) }
func FuzzReadResponses(f *testing.F) { fuzzRead(f, convert.Responses) }

// fuzzRead: whatever a client sends is an error of this package's or a request
// that each upstream can be asked; never a panic, nor a second of work.
func fuzzRead(f *testing.F, client convert.API) {
	for _, seed := range requestSeeds(client) {
		f.Add([]byte(seed))
	}
	names := slices.Sorted(maps.Keys(convert.Dialects))
	f.Fuzz(func(t *testing.T, body []byte) {
		inTime(t, body, func() { readAndTranslate(t, client, body, names) })
	})
}

// inTime runs work, which must take less than a second. It is tried again before it
// is called slow: the machine may have other work.
func inTime(t *testing.T, body []byte, work func()) {
	t.Helper()
	var took time.Duration
	for range 3 {
		start := time.Now()
		work()
		if took = time.Since(start); took < time.Second {
			return
		}
	}
	t.Fatalf("%v for %d bytes", took, len(body))
}

func readAndTranslate(t *testing.T, client convert.API, body []byte, dialects []string) {
	t.Helper()
	req, err := convert.Read(client, body)
	if err != nil {
		mustBeOurs(t, err)
		return
	}
	for _, name := range dialects {
		for _, to := range []convert.API{convert.Chat, convert.Responses} {
			for _, strict := range []bool{false, true} {
				turn, err := req.To(to, convert.Options{Dialect: convert.Dialects[name], Strict: strict})
				if err != nil {
					mustBeOurs(t, err)
					continue
				}
				checkTurn(t, client, to, strict, turn)
			}
		}
	}
}

func checkTurn(t *testing.T, client, to convert.API, strict bool, turn *convert.Turn) {
	t.Helper()
	if !jsontext.Value(turn.Body).IsValid() {
		t.Fatalf("not JSON: %s", turn.Body)
	}
	for _, loss := range turn.Report {
		if loss.Param == "" || loss.What == "" || loss.Field() == "" {
			t.Fatalf("a loss without a name: %+v", loss)
		}
		if strict && loss.Param != "input" && loss.Param != "messages" {
			t.Fatalf("strict reports %v", loss)
		}
	}
	// What was written must be readable, unless it is as odd as it came in.
	if _, err := convert.Read(to, turn.Body); err != nil && to != client {
		t.Fatalf("%s cannot be read again: %v\n%s", to, err, turn.Body)
	}
}

func mustBeOurs(t *testing.T, err error) {
	t.Helper()
	var e *convert.Error
	if !errors.As(err, &e) {
		t.Fatalf("an error of type %T: %v", err, err)
	}
	if e.Status < 400 || e.Status > 499 || e.Message == "" || !jsontext.Value(e.Body()).IsValid() {
		t.Fatalf("%+v", e)
	}
}

// FuzzModelOf: the model that is read without decoding the body is the one that
// decoding it gives, and setting it changes nothing else.
func FuzzModelOf(f *testing.F) {
	for _, api := range []convert.API{convert.Chat, convert.Responses} {
		for _, seed := range requestSeeds(api) {
			f.Add([]byte(seed))
		}
	}
	for _, seed := range []string{
		`{"model":"a"} `, `{"model":"a"}x`, `{"model":"a","Model":"b"}`, `{"model":"a","model":"b"}`, `{"x":{"model":1},"model":"\u0061"}`,
		`{"model":null}`, "{\"model\":\"\xff\"}", `{"mod\u0065l":"a"}`, "{\"\u212aodel\":1}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got string
		var err error
		inTime(t, body, func() { got, err = convert.ModelOf(body) })
		var whole map[string]jsontext.Value
		decoded := json.Unmarshal(body, &whole)
		if err != nil {
			mustBeOurs(t, err)
			if set, _ := convert.SetModel(body, "new"); string(set) != string(body) {
				t.Fatalf("an error, and changed: %s", set)
			}
			return
		}
		if decoded != nil || whole == nil {
			t.Fatalf("ModelOf reads what is no object: %v", decoded)
		}
		want := ""
		if v, ok := whole["model"]; ok {
			if err := json.Unmarshal(v, &want); err != nil {
				t.Fatalf("ModelOf gives %q of %s", got, v)
			}
		}
		if got != want {
			t.Fatalf("ModelOf gives %q, decoding %q", got, want)
		}
		set, err := convert.SetModel(body, "n\"\u00e9w")
		if err != nil {
			t.Fatal(err)
		}
		var after map[string]jsontext.Value
		if err := json.Unmarshal(set, &after); err != nil {
			t.Fatalf("%v in %s", err, set)
		}
		if _, ok := whole["model"]; ok {
			whole["model"] = jsontext.Value(`"n\"` + "\u00e9" + `w"`)
		}
		for name, v := range whole {
			if string(after[name]) != string(v) {
				t.Fatalf("%s was %s and is %s", name, v, after[name])
			}
		}
		if len(after) != len(whole) {
			t.Fatalf("members came or went: %s", set)
		}
	})
}

// TestLargeRequests: no request takes time that grows with the square of its
// length. These are near the limit of values that a body may have; each takes less
// than a second, or, where the machine is busy, not much more than four times what
// a quarter of it takes at the same time.
func TestLargeRequests(t *testing.T) {
	if convert.RaceDetector {
		t.Skip("the race detector sees nothing here, and takes minutes")
	}
	share := 1
	many := func(n int, f string) string {
		var b strings.Builder
		for i := range n / share {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strings.ReplaceAll(f, "#", strconv.Itoa(i)))
		}
		return b.String()
	}
	for name, c := range map[string]struct {
		client convert.API
		body   func() string
	}{
		"messages": {convert.Chat, func() string { return chatMessages(many(100_000, `{"role":"user","content":"x"}`)) }},
		"items":    {convert.Responses, func() string { return `{"model":"m","input":[` + many(100_000, `{"role":"user","content":"x"}`) + `]}` }},
		"calls and outputs": {convert.Responses, func() string {
			return input(many(40_000, `{"type":"function_call","call_id":"c#","name":"f","arguments":"{}"}`), many(40_000, `{"type":"function_call_output","call_id":"c#","output":"o"}`))
		}},
		"outputs by name": {convert.Responses, func() string {
			return input(many(25_000, `{"type":"function_call","call_id":"c#","name":"f","arguments":"{}"}`), many(25_000, `{"type":"function_call","call_id":"d#","name":"g","arguments":"{}"}`), many(25_000, `{"type":"function_call_output","name":"f","output":"o"}`), many(25_000, `{"type":"function_call_output","name":"g","output":"o"}`))
		}},
		"functions of 2023": {convert.Chat, func() string {
			return chatMessages(many(30_000, `{"role":"assistant","content":null,"function_call":{"name":"a","arguments":"{}"}}`) + "," + many(30_000, `{"role":"assistant","content":null,"function_call":{"name":"b","arguments":"{}"}}`) + "," + many(30_000, `{"role":"function","name":"a","content":"x"}`))
		}},
		"tools again": {convert.Responses, func() string {
			return `{"model":"m","tools":[` + many(20_000, `{"type":"function","name":"f#"}`) + `],"input":[{"role":"user","content":"x"},` + many(20_000, `{"type":"additional_tools","tools":[{"type":"function","name":"f0"}]}`) + `]}`
		}},
		"unknown members": {convert.Chat, func() string { return chatMessages(many(60_000, `{"role":"user","content":"x","new":1}`)) }},
		"unknown members here": {convert.Responses, func() string {
			return `{"model":"m","input":[` + many(60_000, `{"role":"user","content":"x","new":1}`) + `]}`
		}},
		"top-level members": {convert.Responses, func() string { return responsesBody(many(200_000, `"x#":1`)) }},
		"parts": {convert.Responses, func() string {
			return `{"model":"m","input":[{"role":"user","content":[` + many(150_000, `{"type":"input_text","text":"x"}`) + `]}]}`
		}},
		"reasoning": {convert.Responses, func() string {
			return `{"model":"m","input":[{"role":"user","content":"x"},` + many(60_000, `{"type":"reasoning","id":"r#","summary":[{"type":"summary_text","text":"x"}]}`) + `,{"role":"assistant","content":"x"}]}`
		}},
		"schemas": {convert.Responses, func() string {
			return tool(many(400, `{"type":"function","name":"f#","parameters":{"type":"object","properties":{`+many(200, `"p#":{"type":"string","encrypted":true}`)+`}}}`))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			took := func(n int) time.Duration {
				share = n
				body := c.body()
				start := time.Now()
				if _, e := translate(c.client, body, convert.Options{Dialect: convert.Dialects["vllm"]}); e != nil {
					t.Fatal(e)
				}
				return time.Since(start)
			}
			var whole, quarter time.Duration
			for range 4 {
				if whole = took(1); whole < time.Second {
					return
				}
				if quarter = took(4); whole < 8*quarter {
					return
				}
			}
			t.Errorf("%v, and %v for a quarter of it", whole, quarter)
		})
	}
}
