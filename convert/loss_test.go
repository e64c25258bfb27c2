package convert_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/labiium/chat2response/convert"
)

// maxFields bounds how many labels a process can be made to have. It is what the types give, and a little more.
const maxFields = 1200

// pathWords are names that stand in requests, for paths that a stranger makes of them.
var pathWords = strings.Fields(`messages input tools content output summary id name type role text format environment tool_choice
	reasoning function custom grammar parameters json_schema response_format image_url file user_location web_search_options
	stream_options allowed_tools prompt_cache_options tool_calls function_call functions effort status model evil metadata include`)

// H1: a member's name that looks like a path is no path: it is "unknown".
func TestFieldOfInventedNames(t *testing.T) {
	for body, want := range map[string]string{
		chatMessages(`{"role":"user","content":"x","id.name.type":1}`):                                                         "messages.unknown",
		chatMessages(`{"role":"user","content":"x","tool_calls.id":1}`):                                                        "messages.unknown",
		chatMessages(`{"role":"user","content":"x","role[0].type":1}`):                                                         "messages.unknown",
		chatMessages(`{"role":"user","content":"x","":1}`):                                                                     "messages.unknown",
		chatBody(`"tools.function.name":1`):                                                                                    "unknown",
		chatBody(`"messages[0].content":1`):                                                                                    "unknown",
		chatBody(`"":1`):                                                                                                       "unknown",
		chatBody(`"stream":true,"stream_options":{"include_usage.x":1}`):                                                       "stream_options.unknown",
		chatBody(`"tools":[{"type":"function","function":{"name":"f","parameters.type":1}}]`):                                  "tools.function.unknown",
		responsesBody(`"tools.function.name":1`):                                                                               "unknown",
		responsesBody(`"reasoning":{"effort.x":1}`):                                                                            "reasoning.unknown",
		`{"model":"m","input":[{"role":"user","content":"x","content.type":1}]}`:                                               "input.unknown",
		`{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"x","file_id.detail":1}]}]}`:              "input.content.unknown",
		`{"model":"m","input":"x","tools":[{"type":"namespace","name":"n","tools":[{"type":"function","name":"f","x.y":1}]}]}`: "tools.tools.unknown",
	} {
		client := convert.Responses
		if strings.Contains(body, `"messages":`) {
			client = convert.Chat
		}
		turn, e := translate(client, body, convert.Options{})
		if e != nil {
			t.Errorf("%s: %v", body, e)
		} else if len(turn.Report) != 1 || turn.Report[0].Field() != want {
			t.Errorf("%s: %v, field %q; want %s", body, turn.Report, turn.Report[0].Field(), want)
		}
	}
}

// H1: whatever the members of requests are called, and however deep they nest, the labels are a bounded set.
func TestFieldsAreBounded(t *testing.T) {
	fields := map[string]bool{}
	note := func(report convert.Report) {
		for _, loss := range report {
			fields[loss.Field()] = true
		}
	}
	// Every path of known words up to three, and random ones beyond.
	for _, a := range pathWords {
		for _, b := range pathWords {
			for _, c := range pathWords {
				note(convert.Report{{Param: a + "[1]." + b + "." + c}})
			}
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	word := func() string { return pathWords[rnd.IntN(len(pathWords))] }
	path := func() string {
		words := make([]string, 1+rnd.IntN(12))
		for i := range words {
			words[i] = word()
		}
		return strings.Join(words, []string{".", "[0].", "[1][2]."}[rnd.IntN(3)])
	}
	for range 50_000 {
		note(convert.Report{{Param: path()}})
	}
	// And through requests: as names of members, and as namespaces in namespaces.
	for range 200 {
		var members []string
		for i := range 50 {
			members = append(members, strconv.Quote(path()+"."+strconv.Itoa(i))+":1")
		}
		all := strings.Join(members, ",")
		for _, body := range []string{chatBody(all), chatMessages(`{"role":"user","content":"x",` + all + `}`)} {
			turn, e := translate(convert.Chat, body, convert.Options{})
			if e != nil {
				t.Fatal(e)
			}
			note(turn.Report)
		}
		turn, e := translate(convert.Responses, `{"model":"m","input":[{"role":"user","content":"x",`+all+`}],`+all+`}`, convert.Options{})
		if e != nil {
			t.Fatal(e)
		}
		note(turn.Report)
	}
	for depth := range 40 {
		tool := `{"type":"function","name":"f","defer_loading":true,"x":1}`
		for i := range depth {
			tool = fmt.Sprintf(`{"type":"namespace","name":"n%d","defer_loading":true,"x":1,"tools":[%s]}`, i, tool)
		}
		turn, e := translate(convert.Responses, `{"model":"m","input":[{"role":"user","content":"x"},{"type":"additional_tools","tools":[`+tool+`]}],"tools":[`+tool+`]}`, convert.Options{})
		if e != nil {
			t.Fatal(e)
		}
		note(turn.Report)
	}
	t.Logf("%d labels", len(fields))
	if len(fields) > maxFields {
		t.Errorf("%d labels: %.20q …", len(fields), slices.Sorted(maps.Keys(fields)))
	}
	for field := range fields {
		if strings.Count(field, ".") > 4 || strings.ContainsAny(field, "[]0123456789") || strings.Contains(field, "evil") {
			t.Fatalf("a label of %q", field)
		}
	}
}

// H1: a request with 100,000 members that are left out makes a report of a few hundred entries, which still counts all
// of them by their fields; and strict refuses it by the first.
func TestReportIsBounded(t *testing.T) {
	const n = 100_000
	var messages, members []string
	for i := range n / 2 {
		messages = append(messages, fmt.Sprintf(`{"role":"user","content":"x","name":"n","new%d":1}`, i))
		members = append(members, fmt.Sprintf(`"id.name.type%d":1`, i))
	}
	for what, c := range map[string]struct {
		client convert.API
		body   string
		want   map[string]int
		strict string
	}{
		"messages":      {convert.Chat, chatMessages(strings.Join(messages, ",")), map[string]int{"messages.name": n / 2, "messages.unknown": n / 2}, "messages[0].name"},
		"members":       {convert.Chat, chatBody(strings.Join(members, ",")), map[string]int{"unknown": n / 2}, "id.name.type0"},
		"the other API": {convert.Responses, responsesBody(strings.Join(members, ",")), map[string]int{"unknown": n / 2}, "id.name.type0"},
	} {
		turn, e := translate(c.client, c.body, convert.Options{})
		if e != nil {
			t.Fatal(e)
		}
		got, all := map[string]int{}, 0
		for _, loss := range turn.Report {
			got[loss.Field()] += loss.Members()
			for range min(loss.Count, 1) {
				if !strings.HasSuffix(loss.String(), " times)") {
					t.Errorf("%s: %s", what, loss)
				}
			}
		}
		for _, count := range c.want {
			all += count
		}
		if len(turn.Report) > 200 || !maps.Equal(got, c.want) || turn.Report.Members() != all {
			t.Errorf("%s: %d entries, %d members, %v; want %v", what, len(turn.Report), turn.Report.Members(), got, c.want)
		}
		if _, e := translate(c.client, c.body, convert.Options{Strict: true}); e == nil || e.Param != c.strict {
			t.Errorf("%s: strict: %v", what, e)
		}
	}
}
