package convert

import (
	"fmt"
	"strings"
	"testing"

	"github.com/labiium/chat2response/internal/fakeopenai"
	"github.com/labiium/chat2response/sse"
)

// quiet is a connection that is always ready.
type quiet struct{}

func (quiet) Write(b []byte) (int, error) { return len(b), nil }

// benchStream measures events in the middle of a stream: parsed, read, written
// and sent one by one. Each b.Loop is one event. The answer begins anew every
// 10,000 events, as its text is kept.
func benchStream(b *testing.B, upstream, client API, more string, opening []string, event string) {
	b.Helper()
	body := `{"model":"m","input":"x","stream":true` + more + `}`
	req, err := Read(Responses, []byte(body))
	if err != nil {
		b.Fatal(err)
	}
	turn, err := req.To(upstream, Options{})
	if err != nil {
		b.Fatal(err)
	}
	req.Out = client
	var frames [][]byte // of different words: strings that repeat would be shared
	for i := range 1000 {
		frame := "data: " + strings.Replace(event, " word", fmt.Sprintf(" w%03d", i), 1) + "\n\n"
		if upstream == Responses {
			frame = "event: response.output_text.delta\n" + frame
		}
		frames = append(frames, []byte(frame))
	}
	var parser sse.Parser
	var reader StreamReader
	var sender *sse.Writer
	feed := func(data []byte) {
		if err := parser.Feed(data, reader.Event); err != nil {
			b.Fatal(err)
		}
		if err := sender.Send(); err != nil {
			b.Fatal(err)
		}
	}
	n := 0
	b.ReportAllocs()
	b.SetBytes(int64(len(frames[0])))
	for b.Loop() {
		if n%10_000 == 0 {
			sender = sse.NewWriter(quiet{}, func() error { return nil })
			reader = turn.Reader(req.Writer(sender), nil)
			for _, line := range opening {
				feed([]byte("data: " + line + "\n\n"))
			}
		}
		feed(frames[n%len(frames)])
		n++
	}
}

const openAIHead = `{"id":"chatcmpl-CeQ1K8Xb2YVkUq","object":"chat.completion.chunk","created":1763800000,"model":"gpt-5.6","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":`

func BenchmarkStream(b *testing.B) {
	const head, tail = openAIHead, `,"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"x7Kq2"}`
	text := head + `{"content":" word"}` + tail
	think := head + `{"reasoning_content":" word"}` + tail
	begin := head + `{"tool_calls":[{"index":0,"id":"call_abc","type":"function","function":{"name":"get_weather","arguments":""}}]}` + tail
	args := head + `{"tool_calls":[{"index":0,"function":{"arguments":" word"}}]}` + tail
	wrapped := strings.Replace(strings.Replace(begin, "get_weather", "patch", 1), `"arguments":""`, `"arguments":"{\"input\":\""`, 1)
	const item = `"item_id":"msg_68af4030baa48193b0b43b4c2a176a1a0e6967589f080e78","output_index":0,`
	delta := `{"type":"response.output_text.delta","sequence_number":7,` + item + `"content_index":0,"delta":" word","logprobs":[],"obfuscation":"x7Kq2"}`
	message := []string{opened(""), added(0, messageItem("msg_68af4030baa48193b0b43b4c2a176a1a0e6967589f080e78", "")), partAdded("msg_68af4030baa48193b0b43b4c2a176a1a0e6967589f080e78", 0, 0)}
	calling := []string{opened(""), added(0, callItem("msg_68af4030baa48193b0b43b4c2a176a1a0e6967589f080e78", "call_abc", "get_weather", ""))}
	callArgs := `{"type":"response.function_call_arguments.delta","sequence_number":7,` + item + `"delta":" word","obfuscation":"x7Kq2"}`
	for _, c := range []struct {
		name             string
		upstream, client API
		more             string
		opening          []string
		event            string
	}{
		{"text/chat to responses", Chat, Responses, "", []string{text}, text},
		{"text/responses to chat", Responses, Chat, "", message, delta},
		{"text/chat to chat", Chat, Chat, "", []string{text}, text},
		{"text/responses to responses", Responses, Responses, "", message, delta},
		{"reasoning/chat to responses", Chat, Responses, "", []string{think}, think},
		{"arguments/chat to responses", Chat, Responses, "", []string{begin}, args},
		{"arguments/responses to chat", Responses, Chat, "", calling, callArgs},
		{"arguments of a wrapped custom tool/chat to responses", Chat, Responses, `,"tools":[{"type":"custom","name":"patch"}]`, []string{wrapped}, args},
	} {
		b.Run(c.name, func(b *testing.B) { benchStream(b, c.upstream, c.client, c.more, c.opening, c.event) })
	}
}

// BenchmarkAnswer translates whole answers: a short one, a reasoned one with two
// calls, and one of 14 KB.
func BenchmarkAnswer(b *testing.B) {
	for _, upstream := range bothAPIs {
		client := map[API]API{Chat: Responses, Responses: Chat}[upstream]
		for _, scenario := range []string{"text", "reasoning_tool", "long"} {
			b.Run(fmt.Sprintf("%s/%s to %s", scenario, upstream, client), func(b *testing.B) {
				r := routeOf(b, upstream, client, "openai", scenario)
				body, _ := fakeopenai.Answer(fakeopenai.API(upstream), "openai", scenario)
				b.ReportAllocs()
				b.SetBytes(int64(len(body)))
				for b.Loop() {
					resp, err := r.turn.Answer(body)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := r.req.Write(resp); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkStreamWhole is a whole stream of 13 words, or 2000, from the client's
// request on.
func BenchmarkStreamWhole(b *testing.B) {
	for _, upstream := range bothAPIs {
		client := map[API]API{Chat: Responses, Responses: Chat}[upstream]
		for _, scenario := range []string{"text", "long"} {
			b.Run(fmt.Sprintf("%s/%s to %s", scenario, upstream, client), func(b *testing.B) {
				stream := fakeopenai.Stream(fakeopenai.API(upstream), "openai", scenario)
				r := routeOf(b, upstream, client, "openai", scenario)
				b.ReportAllocs()
				b.SetBytes(int64(len(stream)))
				for b.Loop() {
					sender := sse.NewWriter(quiet{}, func() error { return nil })
					reader := r.turn.Reader(r.req.Writer(sender), nil)
					var p sse.Parser
					for rest := stream; len(rest) > 0; {
						n := min(len(rest), 4096)
						if err := p.Feed(rest[:n], reader.Event); err != nil {
							b.Fatal(err)
						}
						sender.Send()
						rest = rest[n:]
					}
					if err := reader.Close(nil); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkRequest translates requests of three sizes: a question, a turn of an
// agent, and a long history.
func BenchmarkRequest(b *testing.B) {
	for _, client := range bothAPIs {
		upstream := map[API]API{Chat: Responses, Responses: Chat}[client]
		for _, size := range []int{1 << 10, 60 << 10, 1 << 20} {
			body := []byte(conversation(client, size))
			b.Run(fmt.Sprintf("%dKiB/%s to %s", size>>10, client, upstream), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(body)))
				for b.Loop() {
					req, err := Read(client, body)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := req.To(upstream, Options{Dialect: Dialects["openai"]}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// conversation is a request of about a size: a system prompt, tools, and turns of
// which each has a question, a call with its output, and an answer.
func conversation(api API, size int) string {
	words := strings.Repeat("The quick brown fox jumps over the lazy dog, \\\"twice\\\".\\n", 8)
	const schema = `"parameters":{"type":"object","properties":{"path":{"type":"string","description":"Where."},"text":{"type":"string"}},"required":["path"]}`
	var b strings.Builder
	if api == Chat {
		b.WriteString(`{"model":"m","stream":true,"tools":[{"type":"function","function":{"name":"edit","description":"Edits.",` + schema + `}}],"messages":[{"role":"system","content":"Be good."}`)
		for i := 0; b.Len() < size-500; i++ {
			fmt.Fprintf(&b, `,{"role":"user","content":"%[2]s"},{"role":"assistant","content":null,"tool_calls":[{"id":"call_%[1]d","type":"function","function":{"name":"edit","arguments":"{\"path\":\"%[1]d\"}"}}]},{"role":"tool","tool_call_id":"call_%[1]d","content":"%[2]s"},{"role":"assistant","content":"%[2]s"}`, i, words)
		}
		return b.String() + `]}`
	}
	b.WriteString(`{"model":"m","stream":true,"store":false,"tools":[{"type":"function","name":"edit","description":"Edits.","strict":false,` + schema + `}],"input":[{"type":"message","role":"developer","content":[{"type":"input_text","text":"Be good."}]}`)
	for i := 0; b.Len() < size-500; i++ {
		fmt.Fprintf(&b, `,{"type":"message","role":"user","content":[{"type":"input_text","text":"%[2]s"}]},{"type":"function_call","id":"fc_%[1]d","call_id":"call_%[1]d","name":"edit","arguments":"{\"path\":\"%[1]d\"}","status":"completed"},{"type":"function_call_output","call_id":"call_%[1]d","output":"%[2]s"},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"%[2]s"}]}`, i, words)
	}
	return b.String() + `]}`
}
