package convert_test

import (
	"strings"
	"testing"

	"github.com/labiium/chat2response/convert"
)

// requestCase is a rule of the mapping that the numbered cases do not have.
type requestCase struct {
	name    string
	client  convert.API
	dialect string
	model   string // the upstream's
	request string
	checks  []string // "/path = JSON" of what is sent; absent: nothing there
	report  []string
}

var (
	longName = "a_" + strings.Repeat("very_", 15) + "long_name" // 86 characters
	longID   = "call_" + strings.Repeat("x", 80)
)

var requestCases = []requestCase{
	// A.1
	{name: "max_completion_tokens wins", client: convert.Chat,
		request: chatBody(`"max_tokens":50,"max_completion_tokens":60`),
		checks:  []string{`/max_output_tokens = 60`}, report: []string{"max_tokens=dropped"}},
	{name: "reasoning of OpenRouter", client: convert.Chat,
		request: chatBody(`"reasoning":{"effort":"high","exclude":true}`),
		checks:  []string{`/reasoning = {"effort":"high"}`, `/include = ["reasoning.encrypted_content"]`}, report: []string{"reasoning.exclude=dropped"}},
	{name: "the upstream's name for the model", client: convert.Chat, model: "gpt-x", request: chatBody(`"user":"u"`),
		checks: []string{`/model = "gpt-x"`, `/store = false`}},
	{name: "store only where it is asked for", client: convert.Chat, request: chatBody(`"store":true,"stream":true,"stream_options":{"include_usage":true}`),
		checks: []string{`/store = true`, `/stream_options = absent`}},

	{name: "no reasoning, nothing to seal", client: convert.Chat, request: chatBody(`"reasoning_effort":"none"`),
		checks: []string{`/reasoning = {"effort":"none"}`, `/include = absent`}},
	{name: "nothing sealed by llama.cpp", client: convert.Chat, dialect: "llama.cpp", request: chatBody(`"reasoning_effort":"high"`),
		checks: []string{`/reasoning = {"effort":"high"}`, `/include = absent`}},
	{name: "what vLLM's Responses knows besides", client: convert.Chat, dialect: "vllm",
		request: chatBody(`"seed":7,"logit_bias":{"1":5},"top_k":40,"min_p":0.1,"chat_template_kwargs":{"a":1}`),
		checks:  []string{`/seed = 7`, `/logit_bias = {"1":5}`, `/top_k = 40`, `/chat_template_kwargs = {"a":1}`, `/min_p = absent`}, report: []string{"min_p=dropped"}},

	// A.2
	{name: "empty assistant messages", client: convert.Chat,
		request: chatMessages(`{"role":"user","content":""},{"role":"assistant","content":""},{"role":"user","content":[{"type":"text","text":""}]}`),
		checks:  []string{`/input = [{"type":"message","role":"user","content":""},{"type":"message","role":"assistant","content":""},{"type":"message","role":"user","content":[{"type":"input_text","text":""}]}]`}},
	{name: "text and refusal", client: convert.Chat,
		request: chatMessages(`{"role":"assistant","content":"a","refusal":"b"}`),
		checks:  []string{`/input/0/content = [{"type":"output_text","text":"a","annotations":[],"logprobs":[]},{"type":"refusal","refusal":"b"}]`}},
	{name: "the name of a tool message", client: convert.Chat,
		request: chatMessages(`{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":{"x":1}}}]},{"role":"tool","tool_call_id":"a","name":"f","content":null}`),
		checks:  []string{`/input = [{"type":"function_call","call_id":"a","name":"f","arguments":"{\"x\":1}"},{"type":"function_call_output","call_id":"a","output":""}]`}},
	{name: "an image in a tool message", client: convert.Chat,
		request: chatMessages(`{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a","content":[{"type":"text","text":"t"},{"type":"image_url","image_url":{"url":"u"}}]}`),
		checks:  []string{`/input/1/output = [{"type":"input_text","text":"t"},{"type":"input_image","image_url":"u","detail":"auto"}]`}},
	{name: "two calls of one function of 2023", client: convert.Chat,
		request: chatMessages(`{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"1"}},{"role":"function","name":"f","content":"one"},{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"1"}},{"role":"function","name":"f","content":null}`),
		checks: []string{
			`/input/0/call_id = "call_e026862867f7cf8e60a3c79e"`, `/input/1/call_id = "call_e026862867f7cf8e60a3c79e"`, `/input/1/output = "one"`,
			`/input/2/call_id = "call_50bb92e78ff49cd66b53f140"`, `/input/3/call_id = "call_50bb92e78ff49cd66b53f140"`, `/input/3/output = ""`}},
	{name: "a bare image URL", client: convert.Chat,
		request: chatMessages(`{"role":"user","content":[{"type":"image_url","image_url":"https://x"}]}`),
		checks:  []string{`/input/0/content/0 = {"type":"input_image","image_url":"https://x","detail":"auto"}`}},

	// A.4, A.5
	{name: "reasoning that the upstream sealed", client: convert.Chat, dialect: "openai",
		request: chatMessages(`{"role":"assistant","content":"x","reasoning_content":"why","reasoning_details":[{"type":"reasoning.summary","summary":"why"},{"type":"reasoning.encrypted","id":"rs_1","data":"gAAAA"}]}`),
		checks:  []string{`/input/0 = {"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAAA"}`, `/input/1/content = "x"`, `/include = ["reasoning.encrypted_content"]`}},
	{name: "reasoning that another server sealed", client: convert.Chat, dialect: "openai",
		request: chatMessages(`{"role":"assistant","content":"x","reasoning_details":[{"type":"reasoning.text","text":"why"},{"type":"reasoning.encrypted","id":"0","data":"claude"}]}`),
		checks:  []string{`/input/0/type = "message"`}, report: []string{"messages=reasoning of 1 messages dropped"}},
	{name: "reasoning for Ollama", client: convert.Chat, dialect: "ollama",
		request: chatMessages(`{"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"why"}]},{"type":"text","text":"x"}]}`),
		checks:  []string{`/input/0 = {"type":"reasoning","summary":[{"type":"summary_text","text":"why"}]}`, `/input/1/content = "x"`}},
	{name: "a long call id", client: convert.Chat,
		request: chatMessages(`{"role":"assistant","tool_calls":[{"id":"` + longID + `","type":"function","function":{"name":"f","arguments":""}}]},{"role":"tool","tool_call_id":"` + longID + `","content":"x"}`),
		checks:  []string{`/input/0/call_id = "call_9d2c5a5ba9ff34261622906b44352f9a"`, `/input/1/call_id = "call_9d2c5a5ba9ff34261622906b44352f9a"`}},

	// A.6
	{name: "any, and no parameters", client: convert.Chat,
		request: chatBody(`"tools":[{"function":{"name":"f","parameters":null}}],"tool_choice":"any"`),
		checks:  []string{`/tools = [{"type":"function","name":"f","parameters":{"type":"object","properties":{}},"strict":false}]`, `/tool_choice = "required"`}},

	// B.1
	{name: "instructions come first", client: convert.Responses, dialect: "vllm",
		request: `{"model":"m","instructions":"a","input":[{"role":"developer","content":[{"type":"input_text","text":"b"},{"type":"input_text","text":"c"}]},{"role":"user","content":"x"},{"role":"developer","content":"d"}]}`,
		checks:  []string{`/messages = [{"role":"system","content":"a\n\nb\n\nc"},{"role":"user","content":"x"},{"role":"user","content":"[System message]\nd"}]`}},
	{name: "instructions for OpenAI", client: convert.Responses, dialect: "openai",
		request: `{"model":"m","instructions":"a","input":[{"role":"system","content":"b"},{"role":"user","content":"x"}],"max_output_tokens":5,"stream":true}`,
		checks: []string{`/messages = [{"role":"developer","content":"a"},{"role":"system","content":"b"},{"role":"user","content":"x"}]`,
			`/max_completion_tokens = 5`, `/max_tokens = absent`, `/stream_options = {"include_usage":true}`}},
	{name: "a later configuration", client: convert.Responses, dialect: "openai",
		request: `{"model":"m","reasoning":{"effort":"high","context":"all_turns"},"text":{"verbosity":"low"},"input":[{"role":"user","content":"x"},{"type":"configuration_update","reasoning":{"effort":"low"},"text":{"format":{"type":"json_object"}}},{"type":"configuration_update","reasoning":{"effort":"none"}}]}`,
		checks:  []string{`/reasoning_effort = "none"`, `/verbosity = "low"`, `/response_format = {"type":"json_object"}`}},
	{name: "all tiers for OpenAI", client: convert.Responses, dialect: "openai", request: responsesBody(`"service_tier":"default"`),
		checks: []string{`/service_tier = "default"`}},
	{name: "extensions for open models", client: convert.Responses, dialect: "vllm",
		request: responsesBody(`"top_k":40,"seed":7,"stop":"END","n":1,"logit_bias":{"1":5},"chat_template_kwargs":{"enable_thinking":false}`),
		checks:  []string{`/top_k = 40`, `/seed = 7`, `/stop = ["END"]`, `/n = absent`, `/logit_bias = {"1":5}`, `/chat_template_kwargs = {"enable_thinking":false}`}},
	{name: "extensions for OpenAI", client: convert.Responses, dialect: "openai",
		request: responsesBody(`"top_k":40,"seed":7,"stop":["a","b"]`),
		checks:  []string{`/top_k = absent`, `/seed = 7`, `/stop = ["a","b"]`}, report: []string{"top_k=dropped"}},
	{name: "Mistral's own names", client: convert.Responses, dialect: "mistral",
		request: responsesBody(`"seed":7,"safe_prompt":true,"min_p":0.1,"stream":true,"tools":[{"type":"function","name":"f"}],"tool_choice":"required","prompt_cache_key":"k"`),
		checks: []string{`/random_seed = 7`, `/seed = absent`, `/safe_prompt = true`, `/min_p = absent`, `/stream_options = absent`,
			`/tool_choice = "any"`, `/prompt_cache_key = "k"`}, report: []string{"min_p=dropped"}},
	{name: "neutral values that are refused", client: convert.Responses, dialect: "kimi",
		request: responsesBody(`"temperature":1,"top_p":1,"frequency_penalty":0`), checks: []string{`/temperature = absent`, `/top_p = absent`}},
	{name: "the least effort is not none", client: convert.Responses, dialect: "vllm", request: responsesBody(`"reasoning":{"effort":"minimal"}`),
		checks: []string{`/reasoning_effort = "low"`}, report: []string{"reasoning.effort=changed to low"}},
	{name: "the nearest effort", client: convert.Responses, dialect: "gemini", request: responsesBody(`"reasoning":{"effort":"max"}`),
		checks: []string{`/reasoning_effort = "high"`}, report: []string{"reasoning.effort=changed to high"}},

	// B.2
	{name: "server-side tool search", client: convert.Responses, dialect: "openai",
		request: `{"model":"m","input":[{"role":"user","content":"x"},{"type":"tool_search_call","id":"tsc_1","call_id":null,"execution":"server","status":"completed","arguments":{"paths":["a"]}},{"type":"tool_search_output","id":"tso_1","call_id":null,"execution":"server","status":"completed","tools":[{"type":"function","name":"g"}]},{"type":"function_call","call_id":"a","name":"g","arguments":"{}"},{"type":"function_call_output","call_id":"a","output":"o"}]}`,
		checks:  []string{`/messages/1/tool_calls/0/function/name = "g"`, `/tools/0/function/name = "g"`}},
	{name: "a tool that a search found after it was deferred", client: convert.Responses, dialect: "openai",
		request: `{"model":"m","input":[{"role":"user","content":"x"},{"type":"tool_search_call","call_id":"s","execution":"client","arguments":{}},{"type":"tool_search_output","call_id":"s","tools":[{"type":"function","name":"g","description":"new"}]}],"tools":[{"type":"function","name":"g","description":"old"},{"type":"function","name":"h"}]}`,
		checks:  []string{`/tools/0/function/description = "new"`, `/tools/1/function/name = "h"`, `/tools/2 = absent`}},
	{name: "an id used again in a later step", client: convert.Responses, dialect: "kimi",
		request: `{"model":"m","input":[{"role":"user","content":"x"},{"type":"function_call","call_id":"functions.f:0","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"functions.f:0","output":"1"},{"type":"function_call","call_id":"functions.f:0","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"functions.f:0","output":"2"}]}`,
		checks:  []string{`/messages/2/content = "1"`, `/messages/4/content = "2"`}},
	{name: "an item that is a message without saying so", client: convert.Responses,
		request: `{"model":"m","input":[{"id":"msg_1","role":"assistant","content":"a","status":null},{"role":"user","content":"x"}]}`,
		checks:  []string{`/messages = [{"role":"assistant","content":"a"},{"role":"user","content":"x"}]`}},

	// B.3
	{name: "two messages of one turn", client: convert.Responses,
		request: `{"model":"m","input":[{"role":"user","content":"x"},{"type":"message","role":"assistant","phase":"commentary","content":[{"type":"output_text","text":"a","annotations":[]}]},{"type":"message","role":"assistant","phase":"final_answer","content":[{"type":"output_text","text":"b","annotations":[]},{"type":"output_text","text":"c","annotations":[]}]}]}`,
		checks:  []string{`/messages/1 = {"role":"assistant","content":"a\n\nbc"}`}},
	{name: "reasoning between two calls of one step", client: convert.Responses, dialect: "sglang",
		request: `{"model":"m","input":[{"role":"user","content":"x"},{"type":"function_call","call_id":"a","name":"f","arguments":""},{"type":"reasoning","id":"rs_1","summary":[],"content":[{"type":"reasoning_text","text":"why"}]},{"type":"function_call","call_id":"b","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"a","output":"1"},{"type":"function_call_output","call_id":"b","output":"2"}]}`,
		checks:  []string{`/messages/1 = {"role":"assistant","content":"","reasoning_content":"why","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"b","type":"function","function":{"name":"f","arguments":"{}"}}]}`}},
	{name: "content next to calls, for Mistral", client: convert.Responses, dialect: "mistral",
		request: `{"model":"m","input":[{"role":"user","content":"x"},{"type":"function_call","call_id":"call_1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"call_1","output":[{"type":"input_image","image_url":"u"}]}]}`,
		checks: []string{
			`/messages/1 = {"role":"assistant","tool_calls":[{"id":"V4VBKxSKr","type":"function","function":{"name":"f","arguments":"{}"}}]}`,
			`/messages/2 = {"role":"tool","tool_call_id":"V4VBKxSKr","name":"f","content":"[see attached image]"}`,
			`/messages/3/content/0/text = "Attached output of tool call V4VBKxSKr:"`}},

	// B.4
	{name: "several texts for a template", client: convert.Responses, dialect: "llama.cpp",
		request: `{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_text","text":""},{"type":"input_text","text":"b"}]}]}`,
		checks:  []string{`/messages/0/content = "a\n\nb"`}},
	{name: "several texts for vLLM", client: convert.Responses, dialect: "vllm",
		request: `{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"a"},{"type":"output_text","text":"b"}]}]}`,
		checks:  []string{`/messages/0/content = [{"type":"text","text":"a"},{"type":"text","text":"b"}]`}},

	{name: "audio", client: convert.Responses,
		request: `{"model":"m","input":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"AA==","format":"wav"}}]}]}`,
		checks:  []string{`/messages/0/content = [{"type":"input_audio","input_audio":{"data":"AA==","format":"wav"}}]`}},

	// B.5
	{name: "strict where the schema allows it, for OpenAI", client: convert.Responses, dialect: "openai",
		request: tool(`{"type":"function","name":"f","parameters":{"type":"object","properties":{"a":{"type":["string","null"]}},"required":["a"],"additionalProperties":false}},{"type":"function","name":"g","parameters":{"type":"object","properties":{"a":{}}}},{"type":"function","name":"h","parameters":null,"strict":null}`),
		checks:  []string{`/tools/0/function/strict = true`, `/tools/1/function/strict = absent`, `/tools/2/function = {"name":"h","parameters":{"type":"object","properties":{}}}`}},
	{name: "a long name", client: convert.Responses,
		request: `{"model":"m","input":[{"role":"user","content":"x"},{"type":"function_call","call_id":"a","name":"` + longName + `","arguments":"{}"},{"type":"function_call_output","call_id":"a","output":"o"}],"tools":[{"type":"function","name":"` + longName + `"}],"tool_choice":{"type":"function","name":"` + longName + `"}}`,
		checks: []string{`/tools/0/function/name = "a_very_very_very_very_very_very_very_very_very_very_ver_08646315"`,
			`/tool_choice/function/name = "a_very_very_very_very_very_very_very_very_very_very_ver_08646315"`,
			`/messages/1/tool_calls/0/function/name = "a_very_very_very_very_very_very_very_very_very_very_ver_08646315"`}},
	{name: "search models of OpenAI", client: convert.Responses, dialect: "openai", model: "gpt-search",
		request: tool(`{"type":"web_search","filters":{"allowed_domains":["x"]}}`),
		checks:  []string{`/web_search_options = {}`, `/tools = absent`}, report: []string{"tools[0].filters=dropped"}},
	{name: "arguments that only OpenAI could read", client: convert.Responses,
		request: tool(`{"type":"function","name":"f","parameters":{"type":"object","properties":{"m":{"type":"string","encrypted":true}}}}`),
		checks:  []string{`/tools/0/function/parameters = {"type":"object","properties":{"m":{"type":"string"}}}`}},

	// B.6
	{name: "a namespaced choice", client: convert.Responses,
		request: `{"model":"m","input":"x","tools":[{"type":"namespace","name":"n","description":"","tools":[{"type":"function","name":"f"}]}],"tool_choice":{"type":"function","name":"f","namespace":"n"}}`,
		checks:  []string{`/tool_choice = {"type":"function","function":{"name":"n__f"}}`}},
	{name: "allowed tools of others", client: convert.Responses,
		request: `{"model":"m","input":"x","tools":[{"type":"function","name":"f"},{"type":"custom","name":"c"},{"type":"shell"}],"tool_choice":{"type":"allowed_tools","mode":"required","tools":[{"type":"custom","name":"c"},{"type":"shell"}]}}`,
		checks:  []string{`/tools/0/function/name = "c"`, `/tools/1/function/name = "shell"`, `/tools/2 = absent`, `/tool_choice = "required"`}},
	{name: "no tools for GLM", client: convert.Responses, dialect: "glm",
		request: `{"model":"m","input":"x","stream":true,"tools":[{"type":"function","name":"f"}],"tool_choice":"none","parallel_tool_calls":true}`,
		checks:  []string{`/tools = absent`, `/tool_choice = absent`, `/parallel_tool_calls = absent`, `/stream_options = absent`}},
	{name: "one tool for GLM", client: convert.Responses, dialect: "glm",
		request: `{"model":"m","input":"x","tools":[{"type":"function","name":"f"},{"type":"function","name":"g"}],"tool_choice":{"type":"function","name":"g"}}`,
		checks:  []string{`/tools/0/function/name = "g"`, `/tools/1 = absent`, `/tool_choice = absent`}, report: []string{"tool_choice=not forced"}},
	{name: "a choice without tools", client: convert.Responses, request: responsesBody(`"tools":[],"tool_choice":"none","parallel_tool_calls":false`),
		checks: []string{`/tools = absent`, `/tool_choice = absent`, `/parallel_tool_calls = absent`}},

	// B.7
	{name: "reasoning of earlier turns stays away", client: convert.Responses, dialect: "vllm",
		request: `{"model":"m","input":[{"role":"user","content":"x"},{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"old"}]},{"role":"assistant","content":"a"},{"role":"user","content":"y"},{"type":"reasoning","id":"rs_2","summary":[{"type":"summary_text","text":"s"}],"content":[{"type":"reasoning_text","text":"new"}]},{"type":"function_call","call_id":"a","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"a","output":"o"}]}`,
		checks:  []string{`/messages/1 = {"role":"assistant","content":"a"}`, `/messages/3/reasoning = "new"`}},
	{name: "unless all turns are asked for", client: convert.Responses, dialect: "vllm",
		request: `{"model":"m","reasoning":{"context":"all_turns"},"input":[{"role":"user","content":"x"},{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"old"}]},{"role":"assistant","content":"a"},{"role":"user","content":"y"}]}`,
		checks:  []string{`/messages/1 = {"role":"assistant","content":"a","reasoning":"old"}`}},

	{name: "reasoning of a turn that never came", client: convert.Responses, dialect: "lmstudio",
		request: `{"model":"m","input":[{"role":"user","content":"x"},{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"lost"}]},{"role":"user","content":"y"},{"type":"reasoning","id":"rs_2","summary":[{"type":"summary_text","text":"kept"}]},{"role":"developer","content":"z"},{"role":"assistant","content":"a"}]}`,
		checks:  []string{`/messages/3 = {"role":"assistant","content":"a","reasoning_content":"kept"}`}},

	// The same API, rewritten.
	{name: "a namespace keeps its empty description", client: convert.Responses, dialect: "same", model: "up",
		request: tool(`{"type":"namespace","name":"n","description":"","tools":[{"type":"function","name":"f","new_member":{"b":1,"a":2}}]}`),
		checks:  []string{`/model = "up"`, `/tools = [{"type":"namespace","name":"n","description":"","tools":[{"type":"function","name":"f","new_member":{"b":1,"a":2}}]}]`}},
	{name: "an empty text part stays one", client: convert.Chat, dialect: "same", model: "up",
		request: chatMessages(`{"role":"user","content":[{"type":"text","text":"","cache_control":{"type":"ephemeral"}}]}`),
		checks:  []string{`/messages/0/content/0 = {"type":"text","text":"","cache_control":{"type":"ephemeral"}}`}},
}

func TestRequests(t *testing.T) {
	for _, c := range requestCases {
		t.Run(c.name, func(t *testing.T) {
			req, err := convert.Read(c.client, []byte(c.request))
			if err != nil {
				t.Fatal(err)
			}
			to := convert.Chat
			if (c.client == convert.Chat) != (c.dialect == "same") {
				to = convert.Responses
			}
			turn, err := req.To(to, convert.Options{Dialect: convert.Dialects[c.dialect], Model: c.model})
			if err != nil {
				t.Fatal(err)
			}
			for _, check := range c.checks {
				path, want, _ := strings.Cut(check, " = ")
				got := at(t, turn.Body, path)
				switch {
				case want == "absent" && got != nil:
					t.Errorf("%s is there: %s", path, got)
				case want != "absent" && (got == nil || !sameJSON(t, got, []byte(want))):
					t.Errorf("%s\n got %s\nwant %s\nin %s", path, got, want, turn.Body)
				}
			}
			var report []string
			for _, loss := range turn.Report {
				report = append(report, loss.String())
			}
			if strings.Join(report, " ") != strings.Join(c.report, " ") {
				t.Errorf("the report is %q, want %q", report, c.report)
			}
		})
	}
}

// TestLongNameComesBack: a name that was cut is the client's again in the answer.
func TestLongNameComesBack(t *testing.T) {
	req, err := convert.Read(convert.Responses, []byte(tool(`{"type":"function","name":"`+longName+`"}`)))
	if err != nil {
		t.Fatal(err)
	}
	turn, err := req.To(convert.Chat, convert.Options{})
	if err != nil {
		t.Fatal(err)
	}
	short := string(at(t, turn.Body, "/tools/0/function/name"))
	resp, err := turn.Answer([]byte(`{"choices":[{"index":0,"message":{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":` + short + `,"arguments":"{}"}}]},"finish_reason":"tool_calls"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.Output[0].Name; got != longName || resp.Output[0].Namespace != "" {
		t.Errorf("the answer calls %q", got)
	}
}

// TestDropHosted: tools that run at OpenAI are left out where that is chosen.
func TestDropHosted(t *testing.T) {
	body := tool(`{"type":"file_search","vector_store_ids":[]},{"type":"mcp","server_label":"l","server_url":"u"},{"type":"function","name":"f"}`)
	turn, e := translate(convert.Responses, body, convert.Options{DropHosted: true})
	if e != nil {
		t.Fatal(e)
	}
	if len(turn.Report) != 2 || turn.Report[0].String() != "tools[0]=dropped" || turn.Report[1].String() != "tools[1]=dropped" {
		t.Errorf("report %v", turn.Report)
	}
	if got := at(t, turn.Body, "/tools/1"); got != nil {
		t.Errorf("sent %s", got)
	}
	if _, e := translate(convert.Responses, body, convert.Options{DropHosted: true, Strict: true}); e == nil {
		t.Error("strict does not refuse it")
	}
}
