package chat

import (
	"reflect"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/labiium/chat2response/convert/internal/plaintest"
)

// TestAppendMembers: what is written by hand is what the library writes, for each
// member alone, for all together, and for those that are there and empty.
func TestAppendMembers(t *testing.T) {
	check := func(what string, v interface{ Append([]byte) ([]byte, error) }) {
		t.Helper()
		want, err := json.Marshal(v, marshalOptions)
		if err != nil {
			t.Fatal(err)
		}
		got, err := v.Append([]byte("before"))
		if err != nil || string(got) != "before"+string(want) {
			t.Errorf("%s: %v\n%s\n%s", what, err, got, want)
		}
	}
	for _, base := range []interface{ Append([]byte) ([]byte, error) }{
		new(Message), new(Part), new(ToolCall), new(Request),
		&Message{Role: "user", Content: Text("")}, &Message{Role: "user", Content: Parts()}, &Message{Role: "assistant", NullContent: true},
		&Message{Role: "assistant", ToolCalls: []ToolCall{}, ReasoningContent: new(string)},
		&Part{Type: "text"}, &Part{Type: "image_url", ImageURL: &ImageURL{URL: "u"}},
		&ToolCall{ID: "c", Type: "function", Function: &FunctionCall{Name: "f", Arguments: Arguments("")}},
		&Request{Model: "m", Messages: Messages{{Role: "user"}, {Role: "tool"}}},
		&Request{Messages: Messages{{Role: "user", Content: Text("x")}}}, &Request{Messages: Messages{}},
	} {
		check("as it is", base)
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

// sameMessage checks that a message is read as the library reads it, or that the errors
// are the same.
func sameMessage(t *testing.T, body string, options json.Options) {
	t.Helper()
	type object Message
	var got Messages
	var want []object
	err := json.Unmarshal([]byte("["+body+"]"), &got, options)
	wantErr := json.Unmarshal([]byte("["+body+"]"), &want, options)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%s: error %v instead of %v", body, err, wantErr)
	}
	if err != nil {
		return
	}
	for i := range want {
		if !reflect.DeepEqual(object(got[i]), want[i]) {
			t.Fatalf("%s:\n%+v\n%+v", body, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d messages instead of %d", body, len(got), len(want))
	}
}

var (
	strict  = json.JoinOptions()
	lenient = marshalOptions
)

func TestReadMessage(t *testing.T) {
	for _, body := range messageSamples {
		sameMessage(t, body, strict)
		sameMessage(t, body, lenient)
		sameMessage(t, body+", "+body, strict)
	}
}

func FuzzReadMessage(f *testing.F) {
	for _, body := range messageSamples {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		sameMessage(t, body, strict)
		sameMessage(t, body, lenient)
	})
}
