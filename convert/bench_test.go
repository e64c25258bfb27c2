package convert_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/sse"
)

// discard is a client that takes everything.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// chatChunk and responsesDelta are events as OpenAI's servers send them.
const (
	chatChunk      = `data: {"id":"chatcmpl-9x","object":"chat.completion.chunk","created":1795341953,"model":"gpt-4o","service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":"%s"},"logprobs":null,"finish_reason":null}]}` + "\n\n"
	responsesDelta = `data: {"type":"response.output_text.delta","sequence_number":%d,"item_id":"msg_68a1f0c2","output_index":0,"content_index":0,"delta":"%s","logprobs":[],"obfuscation":"x7Qa"}` + "\n\n"
)

// BenchmarkText is one text event of a long stream, read, translated and written.
func BenchmarkText(b *testing.B) {
	words := []string{" the", " answer", ",", " \\\"quoted\\\"", " 42", " ist", " größer", "\\n"}
	var chatEvents, responsesEvents []byte
	for i := range 32 {
		chatEvents = fmt.Appendf(chatEvents, chatChunk, words[i%len(words)])
		responsesEvents = fmt.Appendf(responsesEvents, responsesDelta, i+5, words[i%len(words)])
	}
	opening := `data: {"type":"response.created","sequence_number":0,"response":{"id":"resp_1","object":"response","created_at":1,"status":"in_progress","model":"gpt-4o","output":[]}}` + "\n\n" +
		`data: {"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"type":"message","id":"msg_68a1f0c2","status":"in_progress","role":"assistant","content":[]}}` + "\n\n" +
		`data: {"type":"response.content_part.added","sequence_number":2,"item_id":"msg_68a1f0c2","output_index":0,"content_index":0,"part":{"type":"output_text","text":"","annotations":[]}}` + "\n\n"
	for _, c := range []struct {
		name             string
		client, upstream convert.API
		body, opening    string
		events           []byte
	}{
		{"chat upstream", convert.Responses, convert.Chat, `{"model":"m","input":"x","stream":true}`, "", chatEvents},
		{"responses upstream", convert.Chat, convert.Responses, `{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}`, opening, responsesEvents},
	} {
		b.Run(c.name, func(b *testing.B) {
			var w *sse.Writer
			var reader convert.StreamReader
			parser := &sse.Parser{}
			begin := func() {
				req, err := convert.Read(c.client, []byte(c.body))
				if err != nil {
					b.Fatal(err)
				}
				turn, err := req.To(c.upstream, convert.Options{})
				if err != nil {
					b.Fatal(err)
				}
				w = sse.NewWriter(discard{}, nil)
				reader = turn.Reader(req.Writer(w), nil)
				parser.Feed([]byte(c.opening), reader.Event)
			}
			b.ReportAllocs()
			for i := 0; i < b.N; i += 32 {
				if i%(32*64) == 0 { // streams of 2,048 events
					begin()
				}
				if err := parser.Feed(c.events, reader.Event); err != nil {
					b.Fatal(err)
				}
				w.Send()
			}
		})
	}
}

// BenchmarkRequest is one request of a size, read and translated.
func BenchmarkRequest(b *testing.B) {
	for _, size := range []int{1 << 10, 60 << 10, 1 << 20, 10 << 20} {
		text := strings.Repeat("a line of text, as programs send it\\n", size/38/8)
		var messages, items []string
		for range 8 {
			messages = append(messages, `{"role":"user","content":"`+text+`"}`)
			items = append(items, `{"type":"message","role":"user","content":[{"type":"input_text","text":"`+text+`"}]}`)
		}
		for _, c := range []struct {
			client, upstream convert.API
			body             string
		}{
			{convert.Chat, convert.Responses, `{"model":"m","messages":[` + strings.Join(messages, ",") + `]}`},
			{convert.Responses, convert.Chat, `{"model":"m","input":[` + strings.Join(items, ",") + `]}`},
		} {
			b.Run(fmt.Sprintf("%s to %s/%d", c.client, c.upstream, size), func(b *testing.B) {
				body := []byte(c.body)
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					req, err := convert.Read(c.client, body)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := req.To(c.upstream, convert.Options{}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
