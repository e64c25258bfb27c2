//go:build unix

package main

import (
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// The canned answers have the members that OpenAI's reference shows, and no
// others: no obfuscation, which OpenAI sends to clients that do not turn it off
// and other servers do not have.

// quote makes a JSON string.
func quote(s string) string {
	b, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		panic(err) // written by programmers
	}
	return string(b)
}

const chatHead = `{"id":"chatcmpl-CeB9MBs8CjcvOU2jLn4n570S5qMJK","object":"chat.completion%s","created":1764000000,"model":"` + upstreamModel + `",` +
	`"service_tier":"default","system_fingerprint":"fp_b1f36bd34c","choices":[`

const chatCounts = `"usage":{"prompt_tokens":21,"completion_tokens":50,"total_tokens":71,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},` +
	`"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}`

func chatAnswer(text string) []byte {
	return fmt.Appendf(nil, chatHead+`{"index":0,"message":{"role":"assistant","content":%s,"refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],`+chatCounts,
		"", quote(text))
}

var chatChunkHead = "data: " + fmt.Sprintf(chatHead, ".chunk")

func chatOpen() []byte {
	return []byte(chatChunkHead + `{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n")
}

// chatDelta appends the event of a token, which needs no escapes.
func chatDelta(b []byte, _ int, token string) []byte {
	b = append(append(b, chatChunkHead...), `{"index":0,"delta":{"content":"`...)
	return append(append(b, token...), `"},"logprobs":null,"finish_reason":null}],"usage":null}`+"\n\n"...)
}

func chatTail(string, int) []byte {
	return []byte(chatChunkHead + `{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}` + "\n\n" +
		chatChunkHead + "]," + chatCounts + "\n\ndata: [DONE]\n\n")
}

const (
	responseID = "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b"
	messageID  = "msg_67ccd2bf17f0819081ff3bb2cf6508e60bb6a6b452d3795b"
)

func outputText(text string) string {
	return `{"type":"output_text","text":` + quote(text) + `,"annotations":[],"logprobs":[]}`
}

func message(status, content string) string {
	return `{"id":"` + messageID + `","type":"message","status":"` + status + `","role":"assistant","content":[` + content + `]}`
}

func response(status, output string) string {
	completed, counts := "null", "null"
	if status == "completed" {
		completed = "1764000001"
		counts = `{"input_tokens":21,"input_tokens_details":{"cached_tokens":0},"output_tokens":50,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":71}`
	}
	return `{"id":"` + responseID + `","object":"response","created_at":1764000000,"status":"` + status + `","background":false,"completed_at":` + completed +
		`,"error":null,"frequency_penalty":0.0,"incomplete_details":null,"instructions":"You are terse.","max_output_tokens":null,"max_tool_calls":null,` +
		`"model":"` + upstreamModel + `","output":[` + output + `],"parallel_tool_calls":true,"presence_penalty":0.0,"previous_response_id":null,` +
		`"prompt_cache_key":null,"reasoning":{"effort":null,"summary":null},"safety_identifier":null,"service_tier":"default","store":true,"temperature":1.0,` +
		`"text":{"format":{"type":"text"},"verbosity":"medium"},"tool_choice":"auto","tools":[],"top_logprobs":0,"top_p":1.0,"truncation":"disabled",` +
		`"usage":` + counts + `,"user":null,"metadata":{}}`
}

func responsesAnswer(text string) []byte {
	return []byte(response("completed", message("completed", outputText(text))))
}

// event is one event of a Responses stream; members come behind its type and
// number.
func event(number int, typ, members string) string {
	return "event: " + typ + "\ndata: {\"type\":\"" + typ + `","sequence_number":` + strconv.Itoa(number) + "," + members + "}\n\n"
}

const ofMessage = `"item_id":"` + messageID + `","output_index":0,"content_index":0,`

// responsesLead is how many events come before the first of text.
const responsesLead = 4

func responsesOpen() []byte {
	started := `"response":` + response("in_progress", "")
	return []byte(event(0, "response.created", started) + event(1, "response.in_progress", started) +
		event(2, "response.output_item.added", `"output_index":0,"item":`+message("in_progress", "")) +
		event(3, "response.content_part.added", ofMessage+`"part":`+outputText("")))
}

func responsesDelta(b []byte, i int, token string) []byte {
	b = append(b, "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":"...)
	b = strconv.AppendInt(b, int64(responsesLead+i), 10)
	b = append(b, `,`+ofMessage+`"delta":"`...)
	return append(append(b, token...), "\",\"logprobs\":[]}\n\n"...)
}

func responsesTail(text string, events int) []byte {
	n := responsesLead + events
	whole := message("completed", outputText(text))
	return []byte(event(n, "response.output_text.done", ofMessage+`"text":`+quote(text)+`,"logprobs":[]`) +
		event(n+1, "response.content_part.done", ofMessage+`"part":`+outputText(text)) +
		event(n+2, "response.output_item.done", `"output_index":0,"item":`+whole) +
		event(n+3, "response.completed", `"response":`+response("completed", whole)))
}

// voice is how an upstream of an API answers.
type voice struct {
	answer func(text string) []byte
	open   func() []byte
	delta  func(b []byte, i int, token string) []byte
	tail   func(text string, events int) []byte
}

var voices = map[api]voice{
	chat:      {chatAnswer, chatOpen, chatDelta, chatTail},
	responses: {responsesAnswer, responsesOpen, responsesDelta, responsesTail},
}
