package convert_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/labiium/chat2response/convert"
)

// fate is what becomes of a member that an upstream of the other API cannot have
// as it is.
type fate struct {
	client  convert.API
	dialect string // of the upstream; generic, if empty
	// field is the member, without indices: [convert.Loss.Field].
	field string
	// what lenient does: dropped, changed, refused.
	what string
	body string // a request that has the member
	// note says in the documentation what a change is, or why it is refused.
	note string
	// always: strict does not refuse it.
	always bool
}

func chatBody(members string) string {
	return `{"model":"m","messages":[{"role":"user","content":"x"}],` + members + `}`
}

func responsesBody(members string) string {
	return `{"model":"m","input":[{"role":"user","content":"x"}],` + members + `}`
}

func chatMessages(messages string) string { return `{"model":"m","messages":[` + messages + `]}` }

// fates are all of them, in both directions. testdata/losses.md is made of this
// table, and the README is to be held against that.
var fates = []fate{
	{convert.Chat, "", "seed", "dropped", chatBody(`"seed":7`), "a hint", false},
	{convert.Chat, "", "prediction", "dropped", chatBody(`"prediction":{"type":"content","content":"x"}`), "speed only", false},
	{convert.Chat, "", "audio", "dropped", chatBody(`"audio":{"format":"wav","voice":"alloy"}`), "when `modalities` does not ask for audio", false},
	{convert.Chat, "", "max_tokens", "changed", chatBody(`"max_tokens":1`), "raised to 16, the least that OpenAI takes", false},
	{convert.Chat, "", "max_completion_tokens", "changed", chatBody(`"max_completion_tokens":1`), "raised to 16, the least that OpenAI takes", false},
	{convert.Chat, "", "max_tokens", "dropped", chatBody(`"max_tokens":100,"max_completion_tokens":200`), "when `max_completion_tokens` says something else", false},
	{convert.Chat, "vllm", "moderation", "dropped", chatBody(`"moderation":{"model":"omni"}`), "where the upstream is not OpenAI", false},
	{convert.Chat, "", "functions", "dropped", chatBody(`"functions":[{"name":"f"}],"tools":[{"type":"function","function":{"name":"g"}}]`), "when there are `tools`", false},
	{convert.Chat, "", "function_call", "dropped", chatBody(`"function_call":"auto","tools":[{"type":"function","function":{"name":"g"}}]`), "when there are `tools`", false},
	{convert.Chat, "", "tool_choice", "dropped", chatBody(`"tool_choice":"required"`), "when there are no tools", false},
	{convert.Chat, "", "messages.name", "dropped", chatMessages(`{"role":"user","name":"ann","content":"x"}`), "", false},
	{convert.Chat, "", "messages.audio", "dropped", chatMessages(`{"role":"assistant","content":"x","audio":{"id":"audio_1"}}`), "when the message has text too", false},
	{convert.Chat, "", "messages.audio", "refused", chatMessages(`{"role":"assistant","content":null,"audio":{"id":"audio_1"}}`), "when it is all that the message has", false},
	{convert.Chat, "", "messages.function_call", "dropped", chatMessages(`{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"},"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]}`), "when there are `tool_calls`", false},
	{convert.Chat, "", "messages.tool_calls", "dropped", chatMessages(`{"role":"user","content":"x","tool_calls":[{"id":"a"}]}`), "in another role's message", false},
	{convert.Chat, "", "messages.tool_calls.unknown", "dropped", chatMessages(`{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"S"}}}]}`), "servers' extensions", false},
	{convert.Chat, "", "messages.content.prompt_cache_breakpoint", "dropped", chatMessages(`{"role":"assistant","content":[{"type":"text","text":"x","prompt_cache_breakpoint":{"mode":"explicit"}}]}`), "in assistant and tool messages", false},
	{convert.Chat, "", "messages.unknown", "dropped", chatMessages(`{"role":"user","content":"x","cache_control":{"type":"ephemeral"}}`), "servers' extensions", false},
	{convert.Chat, "", "messages.content.image_url.unknown", "dropped", chatMessages(`{"role":"user","content":[{"type":"image_url","image_url":{"url":"u","quality":"best"}}]}`), "servers' extensions", false},
	{convert.Chat, "", "messages", "dropped", chatMessages(`{"role":"assistant","content":"x","reasoning_content":"why"}`), "the reasoning of earlier answers, unless the upstream sealed it", true},
	{convert.Chat, "", "stream_options.unknown", "dropped", chatBody(`"stream":true,"stream_options":{"chunk_size":1}`), "", false},
	{convert.Chat, "", "tools.function.unknown", "dropped", chatBody(`"tools":[{"type":"function","function":{"name":"f","cache":true}}]`), "servers' extensions", false},
	{convert.Chat, "", "response_format.json_schema.unknown", "dropped", chatBody(`"response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{},"x":1}}`), "servers' extensions", false},
	{convert.Chat, "", "web_search_options.unknown", "dropped", chatBody(`"web_search_options":{"filters":{}}`), "", false},
	{convert.Chat, "", "unknown", "dropped", chatBody(`"top_k":40`), "servers' extensions, such as `top_k`", false},
	{convert.Chat, "", "n", "refused", chatBody(`"n":2`), "Responses gives one answer", false},
	{convert.Chat, "", "modalities", "refused", chatBody(`"modalities":["text","audio"]`), "Responses has no audio answers", false},
	{convert.Chat, "", "logit_bias", "refused", chatBody(`"logit_bias":{"1":5}`), "it changes what is sampled", false},
	{convert.Chat, "", "top_logprobs", "refused", chatBody(`"top_logprobs":2`), "without `logprobs`", false},
	{convert.Chat, "", "response_format.type", "refused", chatBody(`"response_format":{"type":"grammar"}`), "other than text, json_object, json_schema", false},
	{convert.Chat, "", "messages.content", "refused", chatMessages(`{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"AA==","format":"wav"}}]}`), "audio, which OpenAI's Responses does not take", false},
	{convert.Chat, "", "messages.content.type", "refused", chatMessages(`{"role":"user","content":[{"type":"video_url","video_url":{"url":"u"}}]}`), "types outside the API, such as video_url", false},

	{convert.Responses, "", "text.verbosity", "dropped", responsesBody(`"text":{"verbosity":"low"}`), "", false},
	{convert.Responses, "", "safety_identifier", "dropped", responsesBody(`"safety_identifier":"s"`), "", false},
	{convert.Responses, "", "prompt_cache_key", "dropped", responsesBody(`"prompt_cache_key":"k"`), "", false},
	{convert.Responses, "", "prompt_cache_options", "dropped", responsesBody(`"prompt_cache_options":{"mode":"explicit"}`), "", false},
	{convert.Responses, "openai", "prompt_cache_options.ttl", "dropped", responsesBody(`"prompt_cache_options":{"mode":"explicit","ttl":"12h"}`), "12h; Chat has only 30m", false},
	{convert.Responses, "", "prompt_cache_retention", "dropped", responsesBody(`"prompt_cache_retention":"24h"`), "", false},
	{convert.Responses, "", "service_tier", "dropped", responsesBody(`"service_tier":"flex"`), "", false},
	{convert.Responses, "openai", "service_tier", "dropped", responsesBody(`"service_tier":"ultrafast"`), "ultrafast, which Chat does not have", false},
	{convert.Responses, "", "moderation", "dropped", responsesBody(`"moderation":{"model":"omni"}`), "", false},
	{convert.Responses, "mistral", "user", "dropped", responsesBody(`"user":"u"`), "", false},
	{convert.Responses, "", "context_management", "dropped", responsesBody(`"context_management":[{"type":"compaction","compact_threshold":1000}]`), "", false},
	{convert.Responses, "", "access_programs", "dropped", responsesBody(`"access_programs":{"a":1}`), "", false},
	{convert.Responses, "", "image", "dropped", responsesBody(`"image":{"context_compression":true}`), "", false},
	{convert.Responses, "", "truncation", "dropped", responsesBody(`"truncation":"auto"`), "", false},
	{convert.Responses, "", "max_tool_calls", "dropped", responsesBody(`"max_tool_calls":3`), "it counts only tools that run at OpenAI", false},
	{convert.Responses, "", "include", "dropped", responsesBody(`"include":["new.value"]`), "values that this version does not know", false},
	{convert.Responses, "", "include", "dropped", responsesBody(`"include":["reasoning.encrypted_content"]`), "reasoning.encrypted_content, without a key to seal with", false},
	{convert.Responses, "", "reasoning.mode", "dropped", responsesBody(`"reasoning":{"mode":"pro"}`), "", false},
	{convert.Responses, "", "reasoning.unknown", "dropped", responsesBody(`"reasoning":{"budget":1}`), "", false},
	{convert.Responses, "vllm", "reasoning.effort", "changed", responsesBody(`"reasoning":{"effort":"xhigh"}`), "to the nearest that the upstream knows", false},
	{convert.Responses, "vllm", "reasoning.effort", "dropped", responsesBody(`"reasoning":{"effort":"ultra"}`), "that no known server has", false},
	{convert.Responses, "kimi", "temperature", "dropped", responsesBody(`"temperature":0.5`), "where the upstream refuses it", false},
	{convert.Responses, "kimi", "top_p", "dropped", responsesBody(`"top_p":0.5`), "where the upstream refuses it", false},
	{convert.Responses, "glm", "presence_penalty", "dropped", responsesBody(`"presence_penalty":0.5`), "where the upstream refuses it", false},
	{convert.Responses, "glm", "frequency_penalty", "dropped", responsesBody(`"frequency_penalty":0.5`), "where the upstream refuses it", false},
	{convert.Responses, "mistral", "top_logprobs", "dropped", responsesBody(`"top_logprobs":2`), "where the upstream refuses it", false},
	{convert.Responses, "mistral", "unknown", "dropped", responsesBody(`"top_k":40`), "servers' extensions that the upstream refuses", false},
	{convert.Responses, "", "unknown", "dropped", responsesBody(`"new_parameter":1`), "members that neither API nor a known server has", false},
	{convert.Responses, "", "text.unknown", "dropped", responsesBody(`"text":{"tone":"warm"}`), "", false},
	{convert.Responses, "", "text.format.unknown", "dropped", responsesBody(`"text":{"format":{"type":"text","x":1}}`), "", false},
	{convert.Responses, "", "tools", "dropped", responsesBody(`"tools":[{"type":"web_search"}]`), "web_search, tool_search at the server, programmatic_tool_calling", false},
	{convert.Responses, "", "tools", "refused", responsesBody(`"tools":[{"type":"file_search","vector_store_ids":[]}]`), "tools that run at OpenAI and that the answer rests on; `hosted_tools drop` leaves them out", false},
	{convert.Responses, "", "tools.defer_loading", "changed", responsesBody(`"tools":[{"type":"function","name":"f","defer_loading":true}]`), "sent at once", false},
	{convert.Responses, "", "tools.unknown", "dropped", responsesBody(`"tools":[{"type":"function","name":"f","output_schema":{"type":"object"}}]`), "async, allowed_callers, output_schema", false},
	{convert.Responses, "glm", "tools.strict", "dropped", responsesBody(`"tools":[{"type":"function","name":"f","strict":true}]`), "where the upstream does not know it", false},
	{convert.Responses, "", "tools.environment", "refused", responsesBody(`"tools":[{"type":"shell","environment":{"type":"container_auto"}}]`), "the upstream has no containers", false},
	{convert.Responses, "", "tools.environment.unknown", "dropped", responsesBody(`"tools":[{"type":"shell","environment":{"type":"local","skills":[{"name":"s"}]}}]`), "skills", false},
	{convert.Responses, "", "tool_choice", "dropped", responsesBody(`"tool_choice":"required"`), "when there are no tools", false},
	{convert.Responses, "glm", "tool_choice", "changed", responsesBody(`"tools":[{"type":"function","name":"f"}],"tool_choice":"required"`), "not forced, where the upstream chooses by itself", false},
	{convert.Responses, "", "tool_choice", "refused", responsesBody(`"tool_choice":{"type":"web_search"}`), "a tool that the upstream does not have", false},
	{convert.Responses, "", "tool_choice.tools", "dropped", responsesBody(`"tools":[{"type":"function","name":"f"}],"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"},{"type":"web_search"}]}`), "tools that the upstream does not have", false},
	{convert.Responses, "", "input", "dropped", `{"model":"m","input":[{"role":"user","content":"x"},{"type":"web_search_call","id":"ws_1","status":"completed"}]}`, "what tools at OpenAI did: web_search_call, file_search_call, code_interpreter_call, image_generation_call", false},
	{convert.Responses, "", "input", "dropped", `{"model":"m","input":[{"role":"user","content":"x"},{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"why"}]}]}`, "the reasoning of earlier answers, where the upstream has no place for it", true},
	{convert.Responses, "", "input", "refused", `{"model":"m","input":[{"role":"user","content":"x"},{"type":"compaction","encrypted_content":"gAAAA"}]}`, "items of tools that only OpenAI runs: computer_call, mcp_approval_*, program, compaction of another server", false},
	{convert.Responses, "", "input.unknown", "dropped", `{"model":"m","input":[{"type":"message","role":"user","content":"x","mood":"good"}]}`, "", false},
	{convert.Responses, "", "input.content.prompt_cache_breakpoint", "dropped", `{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"x","prompt_cache_breakpoint":{"mode":"explicit"}}]}]}`, "where the upstream is not OpenAI", false},
	{convert.Responses, "", "input.content.detail", "changed", `{"model":"m","input":[{"role":"user","content":[{"type":"input_image","image_url":"u","detail":"original"}]}]}`, "original to high, where the upstream is not OpenAI", false},
	{convert.Responses, "", "input.content.detail", "dropped", `{"model":"m","input":[{"role":"user","content":[{"type":"input_file","file_data":"d","detail":"low"}]}]}`, "of files", false},
	{convert.Responses, "", "input.content.file_id", "refused", `{"model":"m","input":[{"role":"user","content":[{"type":"input_image","file_id":"file-1"}]}]}`, "the upstream has no stored files", false},
	{convert.Responses, "", "input.content.file_url", "refused", `{"model":"m","input":[{"role":"user","content":[{"type":"input_file","file_url":"u"}]}]}`, "Chat takes no file URLs", false},
	{convert.Responses, "", "n", "refused", responsesBody(`"n":2`), "the API gives one answer", false},
	{convert.Responses, "", "background", "refused", responsesBody(`"background":true`), "without a store", false},
	{convert.Responses, "", "previous_response_id", "refused", responsesBody(`"previous_response_id":"resp_1"`), "without a store", false},
	{convert.Responses, "", "conversation", "refused", responsesBody(`"conversation":"conv_1"`), "without a store", false},
	{convert.Responses, "", "prompt", "refused", responsesBody(`"prompt":{"id":"pmpt_1"}`), "", false},
	{convert.Responses, "", "stream_options.include_usage", "refused", responsesBody(`"stream":true,"stream_options":{"include_usage":true}`), "as every option but `include_obfuscation`: the usage is always told", false},
}

// translate runs a request as far as its upstream's.
func translate(client convert.API, body string, o convert.Options) (*convert.Turn, *convert.Error) {
	to := convert.Chat
	if client == convert.Chat {
		to = convert.Responses
	}
	var turn *convert.Turn
	req, err := convert.Read(client, []byte(body))
	if err == nil {
		turn, err = req.To(to, o)
	}
	var e *convert.Error
	errors.As(err, &e)
	return turn, e
}

func TestStrict(t *testing.T) {
	for _, f := range fates {
		t.Run(fmt.Sprintf("%s %s %s", f.client, f.field, f.what), func(t *testing.T) {
			o := convert.Options{Dialect: convert.Dialects[f.dialect]}
			turn, e := translate(f.client, f.body, o)
			switch {
			case f.what == "refused":
				if e == nil {
					t.Fatalf("not refused: %s", turn.Body)
				}
				if got := (convert.Loss{Param: e.Param}).Field(); got != f.field {
					t.Errorf("the error is at %q (%s), want %s", got, e.Param, f.field)
				}
			case e != nil:
				t.Fatalf("refused: %v", e)
			case len(turn.Report) != 1:
				t.Fatalf("reported: %v", turn.Report)
			default:
				loss := turn.Report[0]
				if loss.Field() != f.field {
					t.Errorf("the report names %q, want %s", loss.Field(), f.field)
				}
				if changed := !strings.HasSuffix(loss.What, "dropped"); changed != (f.what == "changed") {
					t.Errorf("%s, want %s", loss, f.what)
				}
			}
			o.Strict = true
			_, e = translate(f.client, f.body, o)
			switch {
			case f.always:
				if e != nil {
					t.Errorf("strict refuses it: %v", e)
				}
			case e == nil:
				t.Error("strict does not refuse it")
			case e.Status != 400 && f.what != "refused":
				t.Errorf("strict: status %d", e.Status)
			case (convert.Loss{Param: e.Param}).Field() != f.field:
				t.Errorf("strict: the error is at %q, want %s", e.Param, f.field)
			}
		})
	}
}

// TestStrictStop: a translation alone cannot cut the answer at a stop sequence.
func TestStrictStop(t *testing.T) {
	req, err := convert.ReadChat([]byte(chatBody(`"stop":"END"`)))
	if err != nil {
		t.Fatal(err)
	}
	if _, report, err := convert.ToResponses(req, convert.Options{}); err != nil || len(report) != 1 || report[0].Param != "stop" {
		t.Errorf("report %v, error %v", report, err)
	}
	if _, _, err := convert.ToResponses(req, convert.Options{Strict: true}); err == nil {
		t.Error("strict does not refuse it")
	}
}

// TestStrictNeutral: what says nothing is never reported, and never refused.
func TestStrictNeutral(t *testing.T) {
	for client, bodies := range map[convert.API][]string{
		convert.Chat: {
			chatBody(`"n":1,"logit_bias":{},"presence_penalty":0,"frequency_penalty":0,"seed":null,"stop":null,"modalities":["text"],"logprobs":false,"tools":[],"tool_choice":"auto","metadata":null,"response_format":{"type":"text"},"stream":false,"stream_options":null,"prediction":null,"audio":null,"functions":[],"new_parameter":null`),
			chatMessages(`{"role":"user","content":"x","name":null},{"role":"assistant","content":"y","refusal":null,"annotations":[],"tool_calls":null,"function_call":null,"audio":null,"reasoning_content":null}`),
		},
		convert.Responses: {
			responsesBody(`"temperature":null,"top_p":1,"tools":[],"tool_choice":"auto","text":{"format":{"type":"text"},"verbosity":null},"reasoning":{"effort":null,"summary":"auto"},"metadata":{},"include":[],"truncation":"disabled","service_tier":"auto","background":false,"parallel_tool_calls":true,"top_logprobs":0,"store":true,"conversation":null,"previous_response_id":null,"prompt":null,"client_metadata":{"k":"v"},"max_tool_calls":null,"n":1,"new_parameter":null`),
			`{"model":"m","input":[{"type":"message","role":"user","status":null,"id":null,"content":[{"type":"input_text","text":"x","prompt_cache_breakpoint":null}]},{"type":"reasoning","id":"rs_1","summary":[],"content":null,"encrypted_content":null}]}`,
		},
	} {
		for _, body := range bodies {
			for name, d := range convert.Dialects {
				turn, e := translate(client, body, convert.Options{Dialect: d, Strict: true})
				if e != nil {
					t.Errorf("%s: %v\n%s", name, e, body)
				} else if len(turn.Report) > 0 {
					t.Errorf("%s: %v\n%s", name, turn.Report, body)
				}
			}
		}
	}
}

// TestStrictSamples: of the samples of all members, strict refuses those that are
// reported, by name, and changes nothing in what becomes of the others.
func TestStrictSamples(t *testing.T) {
	for _, c := range []complete{
		{client: convert.Chat, settings: chatSettings, samples: chatSamples},
		{client: convert.Responses, settings: responsesSettings, samples: responsesSamples},
	} {
		for _, s := range c.samples {
			body := string(c.body(t, s))
			_, strict := translate(c.client, body, convert.Options{Dialect: convert.Dialects["openai"], Strict: true})
			switch strings.TrimSuffix(keyword(s.want), "*") {
			case "report":
				_, report, _ := strings.Cut(s.want, " ")
				param, _, _ := strings.Cut(report, "=")
				if param == "input" { // earlier reasoning
					continue
				}
				if strict == nil || strict.Param != param {
					t.Errorf("%s: strict does not refuse %q: %v", s.path, param, strict)
				}
			case "to", "silent":
				if strict != nil {
					t.Errorf("%s: strict refuses what nothing is lost of: %v", s.path, strict)
				}
			}
		}
	}
}

// TestLosses holds testdata/losses.md, which documentation is made of, against the
// table.
func TestLosses(t *testing.T) {
	var b bytes.Buffer
	for _, client := range []convert.API{convert.Chat, convert.Responses} {
		to := map[convert.API]string{convert.Chat: "A Chat client on a Responses upstream", convert.Responses: "A Responses client on a Chat upstream"}[client]
		fmt.Fprintf(&b, "## %s\n\n| field | lenient | strict | |\n|---|---|---|---|\n", to)
		for _, f := range fates {
			if f.client != client {
				continue
			}
			strict := "refused"
			if f.always {
				strict = f.what
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.field, f.what, strict, f.note)
		}
		b.WriteByte('\n')
	}
	path := filepath.Join("testdata", "losses.md")
	if updating() {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("%s is not what the table says; run the test with -update", path)
	}
}

// badInput is a body that is refused before anything is translated.
type badInput struct {
	name   string
	client convert.API
	body   string
	code   string
	param  string
	says   []string // where it is wrong, and how to mend it
}

func TestBadInput(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 200) + `1` + strings.Repeat(`}`, 200)
	for _, b := range []badInput{
		{"empty", convert.Chat, ``, "invalid_json", "", []string{"byte 0", "send all of it"}},
		{"cut short", convert.Responses, `{"model":"m","input":"x`, "invalid_json", "input", []string{"byte 23", "send all of it"}},
		{"not JSON", convert.Chat, `model=m`, "invalid_json", "", []string{"byte 0", "valid JSON"}},
		{"a list", convert.Chat, `[]`, "invalid_type", "", []string{"JSON object", "array", "byte 0"}},
		{"bytes behind", convert.Chat, chatMessages(``) + `x`, "invalid_json", "", []string{"byte 27", "nothing behind it"}},
		{"two bodies", convert.Responses, `{"model":"m","input":"x"}{"model":"m"}`, "invalid_json", "", []string{"byte 25", "nothing behind it"}},
		{"name twice", convert.Chat, `{"model":"m","messages":[],"model":"n"}`, "invalid_json", "model", []string{"'model'", "twice", "byte", "once"}},
		{"name twice inside", convert.Responses, `{"model":"m","input":[{"role":"user","content":"a","role":"system"}]}`, "invalid_json", "input[0].role", []string{"'input[0].role'", "once"}},
		{"name twice in an unknown member", convert.Chat, `{"model":"m","messages":[],"x":{"a":1,"a":2}}`, "invalid_json", "x.a", []string{"'x.a'", "once"}},
		{"bad UTF-8", convert.Chat, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}", "invalid_json", "messages[0].content", []string{"'messages[0].content'", "byte 51", "UTF-8"}},
		{"half a surrogate pair", convert.Chat, `{"model":"m","messages":[{"role":"user","content":"\ud800"}]}`, "invalid_json", "messages[0].content", []string{"'messages[0].content'", "byte"}},
		{"too deep", convert.Chat, `{"model":"m","messages":[],"x":` + deep + `}`, "invalid_json", "", []string{"128 levels", "byte", "Flatten"}},
		{"too many values", convert.Responses, `{"model":"m","input":[` + strings.Repeat(`1,`, 600_000) + `1]}`, "invalid_json", "", []string{"200003 values", "byte", "Send less"}},
		{"wrong case", convert.Chat, `{"model":"m","Messages":[]}`, "unknown_parameter", "Messages", []string{"'Messages'", "did you mean 'messages'"}},
		{"wrong case in a message", convert.Chat, chatMessages(`{"role":"user","Content":"x"}`), "unknown_parameter", "messages[0].Content", []string{"did you mean 'messages[0].content'"}},
		{"wrong case in an item", convert.Responses, `{"model":"m","input":[{"role":"user","Content":"x"}]}`, "unknown_parameter", "input[0].Content", []string{"did you mean 'input[0].content'"}},
		{"wrong case in a tool", convert.Responses, tool(`{"type":"function","name":"f","Parameters":{}}`), "unknown_parameter", "tools[0].Parameters", []string{"did you mean 'tools[0].parameters'"}},
		{"wrong case of model", convert.Responses, `{"Model":"m","input":"x"}`, "unknown_parameter", "Model", []string{"did you mean 'model'"}},
		{"no model", convert.Chat, `{"messages":[]}`, "", "", []string{"you must provide a model parameter"}},
		{"no model", convert.Responses, `{"input":"x"}`, "missing_required_parameter", "model", []string{"'model'"}},
		{"model null", convert.Responses, `{"model":null,"input":"x"}`, "invalid_type", "model", []string{"'model'", "a string", "null"}},
		{"model empty", convert.Responses, `{"model":"","input":"x"}`, "model_not_found", "model", []string{"does not exist"}},
		{"model a number", convert.Responses, `{"model":4,"input":"x"}`, "invalid_type", "model", []string{"'model'", "a string", "a number"}},
		{"no messages", convert.Chat, `{"model":"m"}`, "missing_required_parameter", "messages", []string{"'messages'"}},
		{"messages empty", convert.Chat, `{"model":"m","messages":[]}`, "empty_array", "messages", []string{"'messages'", "minimum length 1"}},
		{"messages an object", convert.Chat, `{"model":"m","messages":{}}`, "invalid_type", "messages", []string{"an array", "an object"}},
		{"no role", convert.Chat, chatMessages(`{"content":"x"}`), "missing_required_parameter", "messages[0].role", []string{"messages[0].role"}},
		{"unknown role", convert.Chat, chatMessages(`{"role":"bot","content":"x"}`), "invalid_value", "messages[0].role", []string{"'bot'", "'developer'"}},
		{"no content", convert.Chat, chatMessages(`{"role":"user"}`), "missing_required_parameter", "messages[0].content", []string{"messages[0].content"}},
		{"content a number", convert.Chat, chatMessages(`{"role":"user","content":5}`), "invalid_type", "messages[0].content", []string{"a string or an array", "a number"}},
		{"part without a type", convert.Chat, chatMessages(`{"role":"user","content":[{"text":"x"}]}`), "missing_required_parameter", "messages[0].content[0].type", []string{"type"}},
		{"text a number", convert.Chat, chatMessages(`{"role":"user","content":[{"type":"text","text":5}]}`), "invalid_type", "messages[0].content[0].text", []string{"a string", "a number"}},
		{"temperature a string", convert.Chat, chatBody(`"temperature":"0.5"`), "invalid_type", "temperature", []string{"a number", "a string"}},
		{"max_tokens a fraction", convert.Chat, chatBody(`"max_tokens":1.5`), "invalid_type", "max_tokens", []string{"an integer"}},
		{"max_tokens zero", convert.Chat, chatBody(`"max_tokens":0`), "integer_below_min_value", "max_tokens", []string{">= 1"}},
		{"stop a number", convert.Chat, chatBody(`"stop":5`), "invalid_type", "stop", []string{"a string or an array of strings", "a number"}},
		{"tool_choice a list", convert.Chat, chatBody(`"tool_choice":[]`), "invalid_type", "tool_choice", []string{"a string or an object", "an array"}},
		{"tool_choice another word", convert.Chat, chatBody(`"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"must"`), "invalid_value", "tool_choice", []string{"'must'", "'required'"}},
		{"tool without a name", convert.Chat, chatBody(`"tools":[{"type":"function","function":{}}]`), "missing_required_parameter", "tools[0].function.name", []string{"name"}},
		{"tool of Responses in Chat", convert.Chat, chatBody(`"tools":[{"type":"function","name":"f"}]`), "missing_required_parameter", "tools[0].function", []string{"tools[0].function"}},
		{"tool call without an id", convert.Chat, chatMessages(`{"role":"assistant","tool_calls":[{"type":"function","function":{"name":"f","arguments":""}}]}`), "missing_required_parameter", "messages[0].tool_calls[0].id", []string{"id"}},
		{"tool call without a name", convert.Chat, chatMessages(`{"role":"assistant","tool_calls":[{"id":"a","type":"custom","custom":{"input":""}}]}`), "missing_required_parameter", "messages[0].tool_calls[0].custom.name", []string{"name"}},
		{"tool message without a call", convert.Chat, chatMessages(`{"role":"tool","content":"x"}`), "missing_required_parameter", "messages[0].tool_call_id", []string{"tool_call_id"}},
		{"function message without a call", convert.Chat, chatMessages(`{"role":"function","name":"f","content":"x"}`), "invalid_value", "messages[0]", []string{"must follow", "'f'"}},
		{"function message twice", convert.Chat, chatMessages(`{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},{"role":"function","name":"f","content":"x"},{"role":"function","name":"f","content":"y"}`), "invalid_value", "messages[2]", []string{"must follow"}},
		{"schema without a name", convert.Chat, chatBody(`"response_format":{"type":"json_schema","json_schema":{"schema":{}}}`), "missing_required_parameter", "response_format.json_schema.name", []string{"name"}},

		{"no input", convert.Responses, `{"model":"m"}`, "missing_required_parameter", "input", []string{"'input'"}},
		{"input null", convert.Responses, `{"model":"m","input":null}`, "invalid_type", "input", []string{"'input'", "null"}},
		{"input empty", convert.Responses, `{"model":"m","input":""}`, "missing_required_parameter", "input", []string{`"input"`, "must be provided"}},
		{"input an object", convert.Responses, `{"model":"m","input":{}}`, "invalid_type", "input", []string{"a string or an array", "an object"}},
		{"messages in Responses", convert.Responses, `{"model":"m","messages":[]}`, "unsupported_parameter", "messages", []string{"moved to 'input'"}},
		{"max_tokens in Responses", convert.Responses, responsesBody(`"max_tokens":5`), "unknown_parameter", "max_tokens", []string{"'max_tokens'", "'max_output_tokens'"}},
		{"a WebSocket's member", convert.Responses, responsesBody(`"generate":false`), "unknown_parameter", "generate", []string{"'generate'", "WebSocket"}},
		{"two pasts", convert.Responses, responsesBody(`"previous_response_id":"resp_1","conversation":"conv_1"`), "mutually_exclusive_parameters", "previous_response_id", []string{"'conversation'", "only one"}},
		{"item without a type", convert.Responses, input(`{}`), "missing_required_parameter", "input[1].type", []string{"input[1].type"}},
		{"item of another type", convert.Responses, input(`{"type":"telegram"}`), "invalid_value", "input[1]", []string{"'telegram'", "'function_call'"}},
		{"item a string", convert.Responses, input(`"hi"`), "invalid_type", "input[1]", []string{"an object", "a string"}},
		{"part of another type", convert.Responses, input(`{"role":"user","content":[{"type":"text_image"}]}`), "invalid_value", "input[1].content[0]", []string{"'input_image'"}},
		{"input_text of an assistant", convert.Responses, input(`{"role":"assistant","content":[{"type":"input_text","text":"x"}]}`), "invalid_value", "input[1].content[0]", []string{"'input_text'", "'output_text'"}},
		{"role tool", convert.Responses, input(`{"role":"tool","content":"x"}`), "invalid_value", "input[1].role", []string{"function_call_output"}},
		{"call without an output", convert.Responses, input(fcA), "", "input", []string{"No tool output found for function call a."}},
		{"output without a call", convert.Responses, input(fcoA), "", "input[1]", []string{"No tool call found for function call output with call_id a."}},
		{"custom output without a call", convert.Responses, input(`{"type":"custom_tool_call_output","call_id":"a","output":"o"}`), "", "input[1]", []string{"No tool call found for custom tool call output with call_id a."}},
		{"output without output", convert.Responses, input(fcA, `{"type":"function_call_output","call_id":"a"}`), "missing_required_parameter", "input[2].output", []string{"output"}},
		{"call twice", convert.Responses, input(fcA, fcA, fcoA), "invalid_value", "input[2].call_id", []string{"Duplicate", "'a'"}},
		{"call without a name", convert.Responses, input(`{"type":"function_call","call_id":"a","arguments":"{}"}`), "missing_required_parameter", "input[1].name", []string{"name"}},
		{"patch without an operation", convert.Responses, input(`{"type":"apply_patch_call","call_id":"a"}`), "missing_required_parameter", "input[1].operation", []string{"operation"}},
		{"image without a URL", convert.Responses, input(`{"role":"user","content":[{"type":"input_image"}]}`), "missing_required_parameter", "input[1].content[0].image_url", []string{"image_url"}},
		{"tool name twice", convert.Responses, tool(`{"type":"function","name":"f"},{"type":"function","name":"f"}`), "invalid_value", "tools[1]", []string{"'f'", "more than once", "rename"}},
		{"tool name twice when flat", convert.Responses, tool(`{"type":"function","name":"n__f"},{"type":"namespace","name":"n","tools":[{"type":"function","name":"f"}]}`), "invalid_value", "tools[1].tools[0]", []string{"'n__f'", "Rename"}},
		{"tool_choice of nothing", convert.Responses, tool(`{"type":"function","name":"f"}`)[:len(tool(`{"type":"function","name":"f"}`))-1] + `,"tool_choice":{"type":"function","name":"g"}}`, "invalid_value", "tool_choice", []string{"'g'", "not among"}},
		{"required, and only tools that are left out", convert.Responses, tool(`{"type":"web_search"}`)[:len(tool(`{"type":"web_search"}`))-1] + `,"tool_choice":"required"}`, "unsupported_value", "tool_choice", []string{"'required'", "none of the request's tools"}},
		{"tool without a type", convert.Responses, tool(`{"name":"f"}`), "missing_required_parameter", "tools[0].type", []string{"type"}},
		{"format of another type", convert.Responses, responsesBody(`"text":{"format":{"type":"xml"}}`), "invalid_value", "text.format.type", []string{"'xml'", "'json_schema'"}},
		{"max_output_tokens zero", convert.Responses, responsesBody(`"max_output_tokens":0`), "integer_below_min_value", "max_output_tokens", []string{">= 1"}},
		{"max_tool_calls zero", convert.Responses, responsesBody(`"max_tool_calls":0`), "integer_below_min_value", "max_tool_calls", []string{">= 1"}},
		{"seed a string", convert.Responses, responsesBody(`"seed":"x"`), "invalid_type", "seed", []string{"an integer", "a string"}},
	} {
		t.Run(fmt.Sprintf("%s %s", b.client, b.name), func(t *testing.T) {
			_, e := translate(b.client, b.body, convert.Options{})
			if e == nil {
				t.Fatal("not refused")
			}
			if e.Status != 400 || e.Type != "invalid_request_error" || e.Code != b.code || e.Param != b.param {
				t.Errorf("%d %s, code %q, param %q; want code %q, param %q: %s", e.Status, e.Type, e.Code, e.Param, b.code, b.param, e.Message)
			}
			for _, want := range b.says {
				if !strings.Contains(e.Message, want) {
					t.Errorf("it does not say %q: %s", want, e.Message)
				}
			}
		})
	}
}

// TestModelOf: the model is read, and set, as a whole decoding would.
func TestModelOf(t *testing.T) {
	for _, c := range []struct{ body, model, set string }{
		{`{"model":"a"}`, "a", `{"model":"b\"c"}`},
		{`{"x":{"model":"no"}, "model" : "a\u00e9" ,"y":[1]}`, "aé", `{"x":{"model":"no"}, "model" : "b\"c" ,"y":[1]}`},
		{`{"input":"x"}`, "", `{"input":"x"}`},
	} {
		if got, err := convert.ModelOf([]byte(c.body)); err != nil || got != c.model {
			t.Errorf("ModelOf(%s) = %q, %v", c.body, got, err)
		}
		if got, err := convert.SetModel([]byte(c.body), `b"c`); err != nil || string(got) != c.set {
			t.Errorf("SetModel(%s) = %s, %v", c.body, got, err)
		}
	}
	for body, says := range map[string]string{
		`{"model":"a","Model":"b"}`: "did you mean 'model'",
		`{"model":"a","model":"b"}`: "twice",
		`{"model":1}`:               "expected a string",
		`{"model":"a"} x`:           "behind the JSON body, at byte",
		`{"model":"a"`:              "cut short",
		`[]`:                        "JSON object",
		``:                          "empty",
	} {
		if _, err := convert.ModelOf([]byte(body)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("ModelOf(%s): %v, want %q", body, err, says)
		}
	}
}

// TestFieldIsBounded: a label of metrics takes no name that a client invented.
func TestFieldIsBounded(t *testing.T) {
	for param, want := range map[string]string{
		"tools[2].format":             "tools.format",
		"messages[3].content[0].evil": "messages.content.unknown",
		"messages[3].evil.deeper":     "messages.unknown",
		"evil":                        "unknown",
		"evil[7]":                     "unknown",
		"text.verbosity":              "text.verbosity",
		"input":                       "input",
	} {
		if got := (convert.Loss{Param: param}).Field(); got != want {
			t.Errorf("%s: %s, want %s", param, got, want)
		}
	}
	fields := map[string]bool{}
	for _, f := range fates {
		fields[f.field] = true
	}
	if slices.Contains([]int{0, 1}, len(fields)) {
		t.Error("no fields")
	}
}
