package chat

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/labiium/chat2response/convert/internal/plaintest"
	"github.com/labiium/chat2response/internal/fakeopenai"
)

// TestAppendMembers: what is written by hand is what the library writes, for each
// member alone, for all together, and for those that are there and empty.
func TestAppendMembers(t *testing.T) {
	check := func(what string, v interface{ Append([]byte) ([]byte, error) }) {
		t.Helper()
		options := marshalOptions
		if _, ok := v.(*Completion); ok {
			options = completionOptions
		}
		want, err := json.Marshal(v, options)
		if err != nil {
			t.Fatal(err)
		}
		got, err := v.Append([]byte("before"))
		if err != nil || string(got) != "before"+string(want) {
			t.Errorf("%s: %v\n%s\n%s", what, err, got, want)
		}
	}
	for _, base := range []interface{ Append([]byte) ([]byte, error) }{
		new(Message), new(Part), new(ToolCall), new(Request), new(Usage), (*Usage)(nil),
		&Usage{PromptTokensDetails: &PromptDetails{}, CompletionTokensDetails: &CompletionDetails{}},
		new(Completion), &Completion{Choices: []CompletionChoice{{}}}, &Completion{Choices: []CompletionChoice{{Message: CompletionMessage{Annotations: []Annotation{}}}}},
		&Message{Role: "user", Content: Text("")}, &Message{Role: "user", Content: Parts()}, &Message{Role: "assistant", NullContent: true},
		&Message{Role: "assistant", ToolCalls: []ToolCall{}, ReasoningContent: new(string)},
		&Part{Type: "text"}, &Part{Type: "image_url", ImageURL: &ImageURL{URL: "u"}},
		&ToolCall{ID: "c", Type: "function", Function: &FunctionCall{Name: "f", Arguments: Arguments("")}},
		&Request{Model: "m", Messages: Messages{{Role: "user"}, {Role: "tool"}}},
		&Request{Messages: Messages{{Role: "user", Content: Text("x")}}}, &Request{Messages: Messages{}},
	} {
		check("as it is", base)
		if reflect.ValueOf(base).IsNil() {
			continue
		}
		typ := reflect.TypeOf(base).Elem()
		all := reflect.New(typ)
		all.Elem().Set(reflect.ValueOf(base).Elem())
		for i := range typ.NumField() {
			one := reflect.New(typ)
			one.Elem().Set(reflect.ValueOf(base).Elem())
			plaintest.Fill(one.Elem().Field(i))
			plaintest.Fill(all.Elem().Field(i))
			check(typ.Name()+"."+typ.Field(i).Name, one.Interface().(interface{ Append([]byte) ([]byte, error) }))
		}
		check("all of "+typ.Name(), all.Interface().(interface{ Append([]byte) ([]byte, error) }))
	}
}

// messageSamples are read by hand, or by the library, or by neither.
var messageSamples = []string{
	`{"role":"user","content":"hello"}`, `{"role":"user","content":"a\\nb \\"c\\" \\u00e9 \\ud83d\\ude00 é"}`,
	` { "role" : "user" , "content" : [ { "type" : "text" , "text" : "x" } , {"type":"image_url","image_url":{"url":"u","detail":"high"}} ] } `,
	`{"role":"user","content":[{"type":"image_url","image_url":"bare"}]}`, `{"role":"user","content":[{"type":"image_url","image_url":{"url":"u","x":1}}]}`,
	`{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}`,
	`{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":{"a":1}}}]}`,
	`{"role":"assistant","tool_calls":[{"id":"c","type":"custom","custom":{"name":"f","input":"x"}}],"refusal":null}`,
	`{"role":"assistant","tool_calls":[],"name":"n"}`, `{"role":"tool","tool_call_id":"c","content":""}`, `{"role":"assistant","tool_calls":null}`,
	`{"role":"assistant","tool_calls":[null]}`, `{"role":"assistant","tool_calls":[{"function":null,"id":null}]}`, `{"role":"user","content":[]}`,
	`{"role":"user","role":"user"}`, `{"content":null,"content":"x"}`, `{"content":"x","content":null}`, `{"content":[{"text":"a","text":"b"}]}`,
	`{"tool_calls":[{"id":"a","id":"b"}]}`, `{"unknown":1,"role":"user"}`, `{"r\\u006fle":"user"}`, `{"ROLE":"user"}`,
	`{"role":5}`, `{"content":5}`, `{"content":[5]}`, `{"content":[{"text":5}]}`, `{"role":null}`, `{}`, `null`, `[]`, `5`, ``, `{`, `{"role":"user"`,
	`{"role":"user",}`, `{"role":"user" "name":"x"}`, `{"content":"` + "\x01" + `"}`, `{"role":"user"}}`, `{"content":nul}`, `{"content":nullx}`,
	`{"content":"\\ud800"}`, `{"content":"\\x"}`, `{"content":"` + "\xff" + `"}`, `{"content":"a` + "\xc3" + `\\n"}`, `{"role":"` + "\xff" + `"}`,
	`{"content":[{"type":"text","text":"x"},]}`, `{"content":[{"type":"text","text":"x"}`,
}

// same checks that a value is read as the library reads O, which has no method, or
// that neither can.
func same[T, O any](t *testing.T, body string, options json.Options) {
	t.Helper()
	var got []T
	var want []O
	err := json.Unmarshal([]byte("["+body+"]"), &got, options)
	wantErr := json.Unmarshal([]byte("["+body+"]"), &want, options)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%s: error %v instead of %v", body, err, wantErr)
	}
	if err != nil {
		return
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d instead of %d", body, len(got), len(want))
	}
	for i := range want {
		if got := reflect.ValueOf(got[i]).Convert(reflect.TypeFor[O]()).Interface(); !reflect.DeepEqual(got, any(want[i])) {
			t.Fatalf("%s:\n%+v\n%+v", body, got, want[i])
		}
	}
}

// Types that the library reads.
type (
	libMessage Message
	libAnswer  Answer
	libUsage   Usage
)

func sameAll(t *testing.T, body string) {
	t.Helper()
	for _, options := range []json.Options{strict, lenient} {
		same[Message, libMessage](t, body, options)
		same[Answer, libAnswer](t, body, options)
		same[Usage, libUsage](t, body, options)
	}
}

var (
	strict  = json.JoinOptions()
	lenient = marshalOptions
)

// TestAppendCompletion: each member of the message and of the choice alone.
func TestAppendCompletion(t *testing.T) {
	var c CompletionChoice
	for _, typ := range []reflect.Type{reflect.TypeFor[CompletionMessage](), reflect.TypeFor[CompletionChoice]()} {
		for i := range typ.NumField() {
			choice := c
			if typ == reflect.TypeFor[CompletionMessage]() {
				plaintest.Fill(reflect.ValueOf(&choice.Message).Elem().Field(i))
			} else {
				plaintest.Fill(reflect.ValueOf(&choice).Elem().Field(i))
			}
			v := &Completion{Choices: []CompletionChoice{choice}}
			want, _ := json.Marshal(v, completionOptions)
			if got, err := v.Append(nil); err != nil || string(got) != string(want) {
				t.Errorf("%s: %v\n%s\n%s", typ.Field(i).Name, err, got, want)
			}
		}
	}
}

// samples are messages and answers; each is read as both.
func samples() []string {
	list := slices.Clone(messageSamples)
	for _, message := range messageSamples {
		list = append(list, message+", "+message, `{"id":"c","object":"chat.completion","choices":[{"index":0,"message":`+message+`,"finish_reason":"stop"}]}`)
	}
	for _, dialect := range fakeopenai.Dialects() {
		for _, scenario := range fakeopenai.Scenarios() {
			if body, status := fakeopenai.Answer(fakeopenai.Chat, dialect, scenario); status < 300 {
				list = append(list, string(body))
			}
			if dialect != "openai" {
				continue // the convert package reads all of them
			}
			for line := range strings.Lines(string(fakeopenai.Stream(fakeopenai.Chat, dialect, scenario))) {
				if data, ok := strings.CutPrefix(line, "data: "); ok {
					list = append(list, strings.TrimSpace(data))
				}
			}
		}
	}
	return append(list,
		`{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":5,"audio_tokens":6},"completion_tokens_details":{"reasoning_tokens":7,"audio_tokens":8,"accepted_prediction_tokens":9,"rejected_prediction_tokens":10}}`,
		`{"prompt_tokens":1.5,"completion_tokens":-2,"total_tokens":"3"}`, `{"prompt_tokens":9007199254740993}`, `{"prompt_tokens":null,"x":1}`,
		`{"prompt_tokens_details":{"cached_tokens":1},"prompt_tokens_details":{"audio_tokens":2}}`, `{"prompt_tokens_details":null,"cached_tokens":1}`,
		`{"choices":[{"delta":{"content":"a"},"delta":{"refusal":"b"}}]}`, `{"choices":[{"message":{"content":"a"},"message":null}]}`,
		`{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f"},"function":{"arguments":"x"}}]}}]}`,
		`{"choices":[{"delta":{"tool_calls":{"index":0}}}]}`, `{"choices":[{"delta":{"tool_calls":null,"annotations":null,"reasoning":null}}]}`,
		`{"choices":[{"delta":{"content":[{"type":"text","text":"x"}]}}]}`, `{"choices":[{"finish_reason":"x","finish_reason":null,"index":1,"logprobs":null}]}`,
		`{"choices":[{"logprobs":{"content":[]}}]}`, `{"choices":null}`, `{"choices":[{}],"choices":[]}`, `{"error":null,"usage":null,"service_tier":null}`,
		`{"error":"x"}`, `{"usage":{"prompt_tokens":1},"usage":null}`, `{"usage":"x","service_tier":5}`, `{"object":"error","message":"x"}`,
		`{"choices":[{"delta":{"function_call":{"name":"f"}}}]}`, `{"id":{"a":[1,"]"]},"created":1e5,"model":null,"obfuscation":"x\u0041"}`, `{"id":}`, `{"id":,"a":1}`,
		`{"id":nul}`, `{"id":1 2}`, `{"choices":[{"index":1.5}]}`, `{"choices":[{"index":-1}]}`, `{"choices":[{"index":01}]}`,
	)
}

// FuzzRead runs through the samples in an ordinary test.
func FuzzRead(f *testing.F) {
	for _, body := range samples() {
		f.Add(body)
	}
	f.Fuzz(sameAll)
}
