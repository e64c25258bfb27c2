//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// expected is what every answer of a row must look like: all of it was read once,
// and ids and times have a fixed length, so that an answer of this length with
// this end is the same again.
type expected struct {
	length int
	end    string
}

// wrong tells what is wrong with an answer, or "".
func (e expected) wrong(a *answer) string {
	switch {
	case a.status != 200:
		return fmt.Sprintf("status %d", a.status)
	case a.length != e.length:
		return fmt.Sprintf("%d bytes, not %d", a.length, e.length)
	case string(a.end) != e.end:
		return fmt.Sprintf("ends with %q, not %q", a.end, e.end)
	}
	return ""
}

// check sends one request and reads the answer, and what reached the upstream, in
// full.
func (b *bench) check(v *variant, a *ask) (expected, error) {
	got := newAnswer()
	got.keep = true
	c, err := dial(b.addr(v), time.Now().Add(requestTimeout))
	if err != nil {
		return expected{}, err
	}
	defer c.conn.Close()
	if err := c.do(a.request(v.client, b.addr(v), v.more()), got); err != nil {
		return expected{}, err
	}
	if got.status != 200 {
		return expected{}, fmt.Errorf("status %d: %.500s", got.status, got.body)
	}
	if err := checkAnswer(v.client, a, got); err != nil {
		return expected{}, fmt.Errorf("%w in: %.2000s", err, got.body)
	}
	last, err := b.upstream.ask(order{Do: "last"})
	if err != nil {
		return expected{}, err
	}
	if err := checkRequest(v, a, last); err != nil {
		return expected{}, fmt.Errorf("what reached the upstream: %w: %.500s", err, last.Body)
	}
	return expected{length: got.length, end: string(got.end)}, nil
}

func checkRequest(v *variant, a *ask, last reply) error {
	if last.Path != paths[v.to] {
		return fmt.Errorf("path %s, not %s", last.Path, paths[v.to])
	}
	var body struct {
		Model    string
		Stream   bool
		Messages []json.RawMessage
		Input    json.RawMessage
	}
	if err := json.Unmarshal(last.Body, &body); err != nil {
		return err
	}
	switch {
	case body.Model != v.model():
		return fmt.Errorf("model %q, not %q", body.Model, v.model())
	case body.Stream != (a.events > 0):
		return fmt.Errorf("stream is %v", body.Stream)
	case v.to == chat && len(body.Messages) == 0 || v.to == responses && len(body.Input) == 0:
		return errors.New("nothing is asked")
	case !bytes.Contains(last.Body, []byte(prompt)):
		return errors.New("the prompt is missing")
	case a.size > 4<<10 && len(last.Body) < a.size/2:
		return fmt.Errorf("only %d bytes", len(last.Body))
	}
	return nil
}

// checkAnswer reads the answer as a client of the API would.
func checkAnswer(of api, a *ask, got *answer) error {
	if a.events == 0 {
		return checkWhole(of, a, got)
	}
	if got.mediaType != "text/event-stream" {
		return fmt.Errorf("media type %q", got.mediaType)
	}
	said, whole, err := readStream(of, got.body)
	switch {
	case err != nil:
		return err
	case a.gap > 0:
		if n := strings.Count(said, "@"); n != a.events {
			return fmt.Errorf("%d events of text, not %d", n, a.events)
		}
	case said != a.text():
		return errors.New("the text of the deltas is another")
	}
	if of == responses && whole != said {
		return errors.New("the text of the last event is another")
	}
	return nil
}

// The members of answers that are looked at.
type (
	chatAnswerBody struct {
		Choices []struct {
			Message, Delta struct{ Content string }
			FinishReason   string `json:"finish_reason"`
		}
	}
	responseBody struct {
		Status string
		Output []struct {
			Content []struct{ Text string }
		}
	}
)

func (r *responseBody) text() string {
	text := ""
	for _, item := range r.Output {
		for _, part := range item.Content {
			text += part.Text
		}
	}
	return text
}

func checkWhole(of api, a *ask, got *answer) error {
	if got.mediaType != "application/json" {
		return fmt.Errorf("media type %q", got.mediaType)
	}
	text := ""
	if of == chat {
		var body chatAnswerBody
		if err := json.Unmarshal(got.body, &body); err != nil {
			return err
		}
		if len(body.Choices) != 1 || body.Choices[0].FinishReason != "stop" {
			return errors.New("no choice that has stopped")
		}
		text = body.Choices[0].Message.Content
	} else {
		var body responseBody
		if err := json.Unmarshal(got.body, &body); err != nil {
			return err
		}
		if body.Status != "completed" {
			return fmt.Errorf("status %q", body.Status)
		}
		text = body.text()
	}
	if text != a.text() {
		return errors.New("another text")
	}
	return nil
}

// readStream gives the text of the deltas, and that of the terminal event, which
// must be there once.
func readStream(of api, stream []byte) (said, whole string, err error) {
	if !bytes.HasSuffix(stream, []byte("\n\n")) {
		return "", "", errors.New("the last event has no end")
	}
	endings, done := 0, false
	for block := range strings.SplitSeq(strings.TrimSuffix(string(stream), "\n\n"), "\n\n") {
		_, data, ok := strings.Cut("\n"+block, "\ndata: ")
		if !ok {
			return "", "", fmt.Errorf("an event without data: %q", block)
		}
		if done = data == "[DONE]"; done {
			continue
		}
		delta, ended, text, err := readEvent(of, data)
		if err != nil {
			return "", "", err
		}
		said += delta
		if ended {
			endings++
			whole = text
		}
	}
	if of == chat && !done {
		return "", "", errors.New("no [DONE]")
	}
	if endings != 1 {
		return "", "", fmt.Errorf("%d terminal events", endings)
	}
	return said, whole, nil
}

func readEvent(of api, data string) (delta string, ended bool, text string, err error) {
	if of == chat {
		var chunk chatAnswerBody
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			return "", false, "", err
		}
		if len(chunk.Choices) == 0 {
			return "", false, "", nil
		}
		finish := chunk.Choices[0].FinishReason
		if finish != "" && finish != "stop" {
			return "", false, "", fmt.Errorf("finish_reason %q", finish)
		}
		return chunk.Choices[0].Delta.Content, finish == "stop", "", nil
	}
	var event struct {
		Type     string
		Delta    string
		Response responseBody
	}
	if err := json.Unmarshal([]byte(data), &event); err != nil {
		return "", false, "", err
	}
	switch event.Type {
	case "response.output_text.delta":
		return event.Delta, false, "", nil
	case "response.completed":
		return "", true, event.Response.text(), nil
	case "response.failed", "response.incomplete", "error":
		return "", false, "", errors.New("the stream has failed")
	}
	return "", false, "", nil
}
