package convert

import (
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
)

// thinking is the reasoning in a delta, under one of its names: vLLM and
// OpenRouter send the same text under two.
func thinking(d *chat.Delta) string {
	switch {
	case d.ReasoningContent.Text != "":
		return d.ReasoningContent.Text
	case d.Reasoning.Text != "":
		return d.Reasoning.Text
	case d.ReasoningDetails == nil && d.Content.Raw == nil:
		return ""
	}
	var b strings.Builder
	var blocks chat.ReasoningDetail
	if isSet(d.ReasoningDetails) && json.Unmarshal(d.ReasoningDetails, &blocks, lenient) == nil {
		for _, block := range blocks {
			b.WriteString(block.Text + block.Summary)
		}
	}
	if b.Len() > 0 || d.Content.Raw == nil {
		return b.String()
	}
	for _, p := range messageParts(d.Content.Raw) {
		if p.Type == "thinking" {
			b.WriteString(thinkingText(p.Thinking))
		}
	}
	return b.String()
}

func messageParts(raw jsontext.Value) []chat.Part {
	var parts []chat.Part
	if json.Unmarshal(raw, &parts, lenient) != nil {
		return nil
	}
	return parts
}

// messageText is the text in content that is a list of parts: of all that have one, whatever their type, but for
// reasoning. It reports whether the content is such a list.
func messageText(raw jsontext.Value) (string, bool) {
	parts := messageParts(raw)
	if parts == nil {
		return "", false
	}
	var b strings.Builder
	for i := range parts {
		if p := &parts[i]; p.Type != "thinking" {
			b.WriteString(p.Text)
		}
	}
	return b.String(), true
}

// reason takes reasoning text.
func (s *chatStream) reason(text string) error {
	shown := s.o.Reasoning != ReasoningOff
	if !shown && !s.seal {
		return nil
	}
	if s.think == nil {
		if err := s.closeText(false); err != nil {
			return err
		}
		if err := s.openReasoning(shown); err != nil {
			return err
		}
	}
	if s.thinkPart == nil {
		if s.l.keep(len(text)) {
			s.thought = append(s.thought, text...)
		}
		return nil
	}
	return s.l.say(s.think, s.thinkPart, text, nil)
}

func (s *chatStream) openReasoning(shown bool) error {
	item, typ := responses.Item{Type: "reasoning"}, "summary_text"
	if shown && s.o.Reasoning == ReasoningText {
		item.Content, typ = responses.Parts(), "reasoning_text"
	}
	var err error
	if s.think, err = s.l.open(&item); err != nil || !shown {
		return err
	}
	s.thinkPart, err = s.l.openPart(s.think, responses.Part{Type: typ})
	return err
}

// closeReasoning closes the open reasoning item. extra is what the call behind
// it must come back with.
func (s *chatStream) closeReasoning(extra map[string]jsontext.Value) error {
	r := s.think
	if r == nil {
		return nil
	}
	item := r.item
	if s.seal {
		text := string(s.thought)
		if s.thinkPart != nil {
			text = s.thinkPart.buf.String()
		}
		item.EncryptedContent = s.o.Sealer.seal(sealed{Text: text, Calls: extra})
	}
	s.think, s.thinkPart, s.thought = nil, nil, nil
	return s.l.finish(r, &item, "")
}

// logprobs are the log probabilities of a delta, if the client wants to see them.
func (s *chatStream) logprobs(raw jsontext.Value) []responses.Logprob {
	if !s.probs || raw == nil {
		return nil
	}
	var probs chat.Logprobs
	if json.Unmarshal(raw, &probs, lenient) != nil {
		return nil
	}
	return responsesLogprobs(probs.Content)
}

// responsesLogprobs translates log probabilities. Their bytes must be there.
func responsesLogprobs(in []chat.Logprob) []responses.Logprob {
	out := make([]responses.Logprob, len(in))
	for i := range in {
		out[i] = responsesLogprob(&in[i])
		out[i].TopLogprobs = make([]responses.Logprob, len(in[i].TopLogprobs))
		for k := range in[i].TopLogprobs {
			out[i].TopLogprobs[k] = responsesLogprob(&in[i].TopLogprobs[k])
		}
	}
	return out
}

func responsesLogprob(p *chat.Logprob) responses.Logprob {
	out := responses.Logprob{Token: p.Token, Logprob: p.Logprob, Bytes: or(p.Bytes, nil)}
	if out.Bytes == nil {
		out.Bytes = tokenBytes(p.Token)
	}
	return out
}

func tokenBytes(token string) []int {
	b := make([]int, len(token))
	for i := range len(token) {
		b[i] = int(token[i])
	}
	return b
}

// say takes text of the answer. White space is held back while no message is
// open: models print some between their reasoning and a tool call.
func (s *chatStream) say(text string, probs []responses.Logprob) error {
	if s.text == nil {
		if strings.TrimSpace(text) == "" {
			if s.l.keep(len(text) + weightOf(probs)) {
				s.hold, s.holdProbs = append(s.hold, text...), append(s.holdProbs, probs...)
			}
			return nil
		}
		if len(s.hold) > 0 {
			text, probs = string(s.hold)+text, append(s.holdProbs, probs...)
			s.hold, s.holdProbs = nil, nil
		}
	}
	if err := s.openPart("output_text"); err != nil {
		return err
	}
	return s.l.say(s.text, s.part, text, probs)
}

func (s *chatStream) refuse(text string) error {
	s.dropHold()
	if err := s.openPart("refusal"); err != nil {
		return err
	}
	return s.l.say(s.text, s.part, text, nil)
}

// dropHold forgets white space that turned out to be before no text. The indices
// of annotations count it.
func (s *chatStream) dropHold() {
	if len(s.hold) > 0 {
		s.told += int64(utf8.RuneCount(s.hold))
		s.hold, s.holdProbs = nil, nil
	}
}

// openPart sees to it that the open part is one of a type.
func (s *chatStream) openPart(typ string) error {
	if s.part != nil && s.part.part.Type == typ {
		return nil
	}
	if err := s.closePart(); err != nil {
		return err
	}
	var err error
	if s.text == nil {
		if err := s.closeReasoning(nil); err != nil {
			return err
		}
		if s.text, err = s.l.open(&responses.Item{Type: "message"}); err != nil {
			return err
		}
	}
	s.part, err = s.l.openPart(s.text, responses.Part{Type: typ})
	if err != nil || typ != "output_text" {
		return err
	}
	waiting := s.notes
	s.notes = nil
	for i := range waiting {
		if err := s.annotate(&waiting[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *chatStream) closePart() error {
	p := s.part
	if p == nil {
		return nil
	}
	if p.part.Type == "output_text" {
		s.told += int64(utf8.RuneCountInString(p.buf.String()))
	}
	s.part = nil
	return s.l.closePart(s.text, p, nil)
}

// closeText closes the open message.
func (s *chatStream) closeText(incomplete bool) error {
	if s.text == nil {
		return nil
	}
	if err := s.closePart(); err != nil {
		return err
	}
	r := s.text
	s.text = nil
	return s.l.finish(r, nil, status(incomplete))
}

func status(incomplete bool) string {
	if incomplete {
		return responses.Incomplete
	}
	return responses.Completed
}

func (s *chatStream) annotations(raw jsontext.Value) error {
	var list []jsontext.Value
	if json.Unmarshal(raw, &list, lenient) != nil {
		return nil
	}
	for _, v := range list {
		var note chat.Annotation
		if json.Unmarshal(v, &note, lenient) != nil || note.Type != "url_citation" || note.URLCitation == nil {
			continue // Responses has no word for it
		}
		if s.part == nil || s.part.part.Type != "output_text" {
			if s.l.keep(partWeight + len(note.URLCitation.URL) + len(note.URLCitation.Title)) {
				s.notes = append(s.notes, note) // its text is still to come
			}
			continue
		}
		if err := s.annotate(&note); err != nil {
			return err
		}
	}
	return nil
}

// annotate adds a citation to the open part. Chat counts characters from the
// beginning of the whole text, Responses from that of the part.
func (s *chatStream) annotate(a *chat.Annotation) error {
	c := a.URLCitation
	start, end := max(0, c.StartIndex-s.told), max(0, c.EndIndex-s.told)
	return s.l.annotate(s.text, s.part, &responses.Annotation{
		Type: "url_citation", StartIndex: &start, EndIndex: &end, URL: c.URL, Title: &c.Title,
	})
}
