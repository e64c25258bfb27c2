package responses

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/internal/plaintest"
	"github.com/labiium/chat2response/internal/fakeopenai"
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
		new(Item), new(Part), new(Response), new(Request), new(Usage), (*Usage)(nil), (*Item)(nil), (*Part)(nil), (*Response)(nil),
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
		if got := reflect.ValueOf(&got[i]).Elem().Convert(reflect.TypeFor[O]()).Interface(); !reflect.DeepEqual(got, any(want[i])) {
			t.Fatalf("%s:\n%+v\n%+v", body, got, want[i])
		}
	}
}

// Types that the library reads, the inner ones too.
type (
	libItem     Item
	libResponse struct {
		ID                string             `json:"id"`
		Object            string             `json:"object"`
		CreatedAt         Seconds            `json:"created_at"`
		CompletedAt       *Seconds           `json:"completed_at"`
		Status            string             `json:"status"`
		Error             *ResponseError     `json:"error"`
		IncompleteDetails *IncompleteDetails `json:"incomplete_details"`
		Model             string             `json:"model"`
		Output            []Item             `json:"output"`
		Usage             *Usage             `json:"usage"`
		ServiceTier       string             `json:"service_tier,omitzero"`
		Echo              jsontext.Value     `json:",embed"`
	}
	libEvent Event
)

func sameAll(t *testing.T, body string) {
	t.Helper()
	for _, options := range []json.Options{strict, lenient} {
		same[Item, libItem](t, body, options)
		same[Response, libResponse](t, body, options)
		same[Event, libEvent](t, body, options)
	}
}

var (
	strict  = json.JoinOptions()
	lenient = marshalOptions
)

// samples are items, responses and events; each is read as all three.
func samples() []string {
	list := slices.Clone(itemSamples)
	for _, item := range itemSamples {
		list = append(list, item+", "+item, `{"type":"response.output_item.done","sequence_number":3,"output_index":0,"item":`+item+`}`,
			`{"id":"resp_1","object":"response","created_at":5,"output":[`+item+`],"tools":[{"type":"x"}],"usage":null}`)
	}
	for _, dialect := range fakeopenai.Dialects() {
		for _, scenario := range fakeopenai.Scenarios() {
			if body, status := fakeopenai.Answer(fakeopenai.Responses, dialect, scenario); status < 300 {
				list = append(list, string(body))
			}
			if dialect != "openai" {
				continue // the convert package reads all of them
			}
			for line := range strings.Lines(string(fakeopenai.Stream(fakeopenai.Responses, dialect, scenario))) {
				if data, ok := strings.CutPrefix(line, "data: "); ok {
					list = append(list, strings.TrimSpace(data))
				}
			}
		}
	}
	return append(list,
		`{"usage":{"input_tokens":1,"input_tokens_details":{"cached_tokens":2,"cache_write_tokens":3},"output_tokens":4,"output_tokens_details":{"reasoning_tokens":5},"total_tokens":6}}`,
		`{"usage":{"input_tokens":1.0}}`, `{"usage":{"x":1}}`, `{"usage":{"input_tokens":01}}`, `{"usage":{"input_tokens":1},"usage":{"output_tokens":1}}`,
		`{"usage":{"input_tokens":1},"usage":null}`, `{"created_at":1.5,"completed_at":2}`, `{"created_at":-1}`, `{"created_at":12345678901234567890}`,
		`{"completed_at":1,"completed_at":null}`, `{"service_tier":null,"model":null}`, `{"error":{"code":"a","message":"b"}}`, `{"error":null,"error":{"code":"a"}}`,
		`{"error":{"code":"a"},"error":null}`, `{"incomplete_details":{"reason":"x"}}`, `{"a":1,"a":2}`, `{"a":{"b":[1,{"c":"]"}]}, "d" : [ ] }`, `{"a":}`, `{"a":,"b":1}`,
		`{"a":nul}`, `{"a":1 2}`, `{"a":"x}`, `{"a":[}`, `{"a":{]}`, `{"a":tru,"b":{}}`, `{"output":[{}],"output":[]}`, `{"output":null}`, `{"status":5}`,
		`{"response":{"id":"a"},"response":{"model":"b"}}`, `{"item":{"id":"a"},"item":{"name":"b"}}`, `{"part":{"text":"a"},"part":{"type":"b"}}`,
		`{"type":"x","delta":{"a":1}}`, `{"sequence_number":1,"output_index":2,"content_index":3,"summary_index":4,"obfuscation":"x","delta":"d","logprobs":[]}`,
		`{"logprobs":[{"token":"a"}]}`, `{"response":null}`, `{"text":"a","refusal":"b","arguments":"c","input":"d","extra":{}}`,
	)
}

// FuzzRead runs through the samples in an ordinary test.
func FuzzRead(f *testing.F) {
	for _, body := range samples() {
		f.Add(body)
	}
	f.Fuzz(sameAll)
}
