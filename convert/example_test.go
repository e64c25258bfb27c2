package convert_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/sse"
)

// A Chat Completions request becomes a Responses request. What has no counterpart
// there is in the report.
func ExampleToResponses() {
	req, err := convert.ReadChat([]byte(`{
		"model": "gpt-5.5",
		"messages": [
			{"role": "system", "content": "Be brief."},
			{"role": "user", "content": "What is the weather in Paris?"}
		],
		"tools": [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}],
		"max_completion_tokens": 200,
		"seed": 7
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	out, report, err := convert.ToResponses(req, convert.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	b, _ := json.Marshal(out, jsontext.WithIndent("  "))
	fmt.Println(string(b))
	fmt.Println("left out:", report)
	// Output:
	// {
	//   "model": "gpt-5.5",
	//   "input": [
	//     {
	//       "type": "message",
	//       "role": "system",
	//       "content": "Be brief."
	//     },
	//     {
	//       "type": "message",
	//       "role": "user",
	//       "content": "What is the weather in Paris?"
	//     }
	//   ],
	//   "tools": [
	//     {
	//       "type": "function",
	//       "name": "get_weather",
	//       "parameters": {
	//         "type": "object"
	//       },
	//       "strict": false
	//     }
	//   ],
	//   "max_output_tokens": 200,
	//   "store": false
	// }
	// left out: [seed=dropped]
}

// A Responses request becomes a Chat Completions request. One turn of the
// assistant, which is several items there, is one message here.
func ExampleToChat() {
	req, err := convert.ReadResponses([]byte(`{
		"model": "qwen3",
		"instructions": "Be brief.",
		"input": [
			{"role": "user", "content": "What is the weather in Paris and in Rome?"},
			{"type": "function_call", "call_id": "a", "name": "get_weather", "arguments": "{\"city\":\"Paris\"}"},
			{"type": "function_call", "call_id": "b", "name": "get_weather", "arguments": "{\"city\":\"Rome\"}"},
			{"type": "function_call_output", "call_id": "b", "output": "sun"},
			{"type": "function_call_output", "call_id": "a", "output": "rain"}
		]
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	out, _, _, err := convert.ToChat(req, convert.Options{Dialect: convert.Dialects["vllm"]})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range out.Messages {
		b, _ := json.Marshal(m)
		fmt.Println(string(b))
	}
	// Output:
	// {"role":"system","content":"Be brief."}
	// {"role":"user","content":"What is the weather in Paris and in Rome?"}
	// {"role":"assistant","content":"","tool_calls":[{"id":"a","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Paris\"}"}},{"id":"b","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Rome\"}"}}]}
	// {"role":"tool","content":"rain","tool_call_id":"a"}
	// {"role":"tool","content":"sun","tool_call_id":"b"}
}

// A whole exchange: a Responses client, an upstream that speaks Chat Completions,
// and a stream.
func ExampleRequest_To() {
	req, err := convert.Read(convert.Responses, []byte(`{"model": "qwen3", "input": "Say hello.", "stream": true}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	turn, err := req.To(convert.Chat, convert.Options{Dialect: convert.Dialects["ollama"]})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("upstream is asked:", string(turn.Body))

	// What the upstream answers would come from the network.
	upstream := strings.NewReader(`data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"}}]}

data: {"choices":[{"index":0,"delta":{"content":"lo"}}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: [DONE]

`)
	var client bytes.Buffer
	out := sse.NewWriter(&client, nil)
	reader := turn.Reader(req.Writer(out), nil)
	if err := reader.Start(); err != nil { // the upstream has answered 200
		fmt.Println(err)
		return
	}
	var events sse.Parser
	buf := make([]byte, 1024)
	for {
		n, readErr := upstream.Read(buf)
		if err := events.Feed(buf[:n], reader.Event); err != nil {
			fmt.Println(err)
			return
		}
		if err := out.Send(); err != nil { // what one read yields leaves together
			fmt.Println(err)
			return
		}
		if readErr == io.EOF {
			break
		}
	}
	if err := reader.Close(nil); err != nil {
		fmt.Println(err)
		return
	}
	for line := range strings.Lines(client.String()) {
		if strings.HasPrefix(line, "event: ") {
			fmt.Fprint(os.Stdout, line)
		}
	}
	// Output:
	// upstream is asked: {"model":"qwen3","messages":[{"role":"user","content":"Say hello."}],"stream":true,"stream_options":{"include_usage":true}}
	// event: response.created
	// event: response.in_progress
	// event: response.output_item.added
	// event: response.content_part.added
	// event: response.output_text.delta
	// event: response.output_text.delta
	// event: response.output_text.done
	// event: response.content_part.done
	// event: response.output_item.done
	// event: response.completed
}
