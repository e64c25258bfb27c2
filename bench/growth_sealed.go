//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

// sealedRow sends an item of sealed reasoning many times, which is some hundred bytes on the wire and opens to 2 MiB. It
// is not the exponent that counts, but that memory stays below a bound: the gateway refuses what does not fit.
var sealedRow = &growth{name: "sealed items of 2 MiB", n: 100, memory: true, held: heldBelow,
	sites: []site{{"sealed", "chat2response UPSTREAM {\n\tmode chat\n\tdialect vllm\n\tstate off\n\tmax_bodies 64MiB\n}"}},
	prepare: func(g *grower, n int) (act, error) {
		g.up.say(paths[chat], "thinking", wholeAnswer(strings.Replace(string(chatAnswer("x")), `"content"`,
			`"reasoning":`+quote(strings.Repeat("thinking about it again and again. ", 2<<20/35))+`,"content"`, 1)))
		body, err := g.ask(exchange{site: "sealed", path: paths[responses], mark: "thinking",
			body: `{"model":"bench","store":false,"include":["reasoning.encrypted_content"],"input":"x"}`})
		if err != nil {
			return nil, err
		}
		var r struct {
			Output []struct {
				Type    string
				Content string `json:"encrypted_content"`
			}
		}
		if err := json.Unmarshal(body, &r); err != nil {
			return nil, err
		}
		if len(r.Output) == 0 || r.Output[0].Type != "reasoning" || r.Output[0].Content == "" {
			return nil, fmt.Errorf("no sealed reasoning in %.300s", body)
		}
		// Reasoning goes back to the model only of the calls since the user's last message.
		item := `,{"type":"reasoning","summary":[],"encrypted_content":` + quote(r.Output[0].Content) + `},` +
			`{"type":"function_call","call_id":"c#","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c#","output":"o"}`
		send := func(n, status int) error {
			_, err := g.ask(exchange{site: "sealed", path: paths[responses], status: status,
				body: `{"model":"bench","store":false,"input":[{"role":"user","content":"x"}` + strings.Join(copies(n, item), "") + `]}`})
			return err
		}
		if err := send(2, 200); err != nil {
			return nil, err
		}
		if got := g.reached(); len(got) < 4<<20 { // else it is no wonder that memory stays small
			return nil, fmt.Errorf("two sealed items have reached the upstream as %d bytes", len(got))
		}
		return func() error { return send(n, -1) }, nil
	}}

// wholeAnswer is one that is not a stream, with its head.
func wholeAnswer(body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}
