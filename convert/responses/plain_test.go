package responses

import (
	"reflect"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

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
	text := "text"
	for _, base := range []interface{ Append([]byte) ([]byte, error) }{
		new(Item), new(Part), new(Response), new(Request),
		&Item{Type: "message", Role: "user", Content: Text("")},
		&Item{Type: "message", Content: Parts()},
		&Item{Type: "function_call", Arguments: String("")},
		&Item{Type: "custom_tool_call", Input: new(string), Output: String("")},
		&Part{Type: "output_text", Text: &text, Annotations: []Annotation{}, Logprobs: []Logprob{}},
		&Response{Output: []Item{}, Echo: jsontext.Value(`{"tools":[]}`)},
		&Response{Output: []Item{{Type: "message"}, {Type: "reasoning", Summary: []Part{}}}, Echo: jsontext.Value(`{}`)},
		&Request{Model: "m", Input: Input{{Type: "message"}, {Type: "item_reference", ID: "x"}}},
		&Request{Input: Input{{Type: "message"}}},
		&Request{Input: Input{}},
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

// TestAppendOneLine: an upstream's own members may hold line ends, which would end an
// event.
func TestAppendOneLine(t *testing.T) {
	r := Response{Output: []Item{}, Echo: jsontext.Value(" {\n\"tools\": [\r\n{\"x\": \"\\n\"}]}\n")}
	got, err := r.Append(nil)
	want, _ := json.Marshal(&r, marshalOptions)
	if err != nil || string(got) != string(want) {
		t.Errorf("%v\n%s\n%s", err, got, want)
	}
}

// itemSamples are read by hand, or by the library, or by neither.
var itemSamples = []string{
	`{"type":"message","role":"user","content":"hello"}`,
	` { "type" : "message" , "role" : "user" , "content" : [ { "type" : "input_text" , "text" : "a\nb \"c\" é 😀" } ] } `,
	`{"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[{"type":"output_text","text":"","annotations":[],"logprobs":[]}],"phase":"x"}`,
	`{"type":"message","role":"assistant","content":[{"type":"output_text","text":"x","annotations":[{"type":"url_citation","url":"u"}]}]}`,
	`{"type":"message","role":"user","content":[{"type":"input_image","image_url":"data:x","detail":"low"},{"type":"refusal","refusal":"no"}]}`,
	`{"type":"message","role":"user","content":[]}`, `{"type":"message","role":"user","content":null}`, `{"role":"user","content":[null]}`,
	`{"type":"function_call","id":"fc_1","call_id":"c","name":"f","namespace":"n","arguments":"{\"a\":1}","status":"in_progress"}`,
	`{"type":"function_call","call_id":"c","name":"f","arguments":{"a":1}}`,
	`{"type":"function_call_output","call_id":"c","output":"text"}`, `{"type":"function_call_output","call_id":"c","output":[{"type":"input_text"}]}`,
	`{"type":"custom_tool_call","call_id":"c","name":"f","input":"free"}`,
	`{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"abc"}`, `{"type":"reasoning","summary":[{"type":"summary_text","text":"s"}]}`,
	`{"type":"message","type":"reasoning"}`, `{"type":"message","role":"user","role":"user","content":"x"}`, `{"content":"x","content":["a"]}`,
	`{"content":[{"text":"a","text":"b"}]}`, `{"unknown":1,"type":"message"}`, `{"ty\u0070e":"message"}`, `{"TYPE":"message"}`,
	`{"type":5}`, `{"content":5}`, `{"content":[5]}`, `{"content":[{"text":5}]}`, `{"id":null}`, `{}`, `null`, `[]`, `5`, ``, `{`, `{"type":"message"`,
	`{"type":"message",}`, `{"type":"message" "role":"user"}`, `{"type":"mess` + "\n" + `age"}`, `{"content":"` + "\x01" + `"}`, `{"type":"message"}}`,
	`{"content":"\ud800"}`, `{"content":"\ud83d\ude00"}`, `{"content":"\x"}`, `{"content":"` + "\xff" + `"}`, `{"content":"\` + "\xff" + `"}`,
	`{"` + "\xff" + `":1}`, `{"content":"a` + "\xc3" + `\n"}`, `{"role":"` + "\xff" + `"}`, `{"role":"\u0075ser"}`, `{"role":"o\\ther"}`,
	`{"content":[{"type":"input_text","text":"x"},]}`, `{"content":[{"type":"input_text","text":"x"}`, `{"summary":null,"output":null,"input":null}`,
}

// sameItem checks that an item is read as the library reads it, or that the errors
// are the same.
func sameItem(t *testing.T, body string, options json.Options) {
	t.Helper()
	type object Item
	var got []Item
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
		t.Fatalf("%s: %d items instead of %d", body, len(got), len(want))
	}
}

var (
	strict  = json.JoinOptions()
	lenient = marshalOptions
)

func TestReadItem(t *testing.T) {
	for _, body := range itemSamples {
		sameItem(t, body, strict)
		sameItem(t, body, lenient)
		sameItem(t, body+", "+body, strict)
	}
}

func FuzzReadItem(f *testing.F) {
	for _, body := range itemSamples {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		sameItem(t, body, strict)
		sameItem(t, body, lenient)
	})
}
