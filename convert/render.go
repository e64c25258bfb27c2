package convert

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/chat"
)

// messages renders what has been read: instructions first, then each message,
// and each turn of the assistant with its tool messages behind it.
func (x *itemReader) messages(instructions string, allTurns bool) ([]chat.Message, error) {
	out := make([]chat.Message, 0, len(x.steps)+len(x.owner)+1)
	if instructions != "" {
		out = append(out, chat.Message{Role: x.role("developer"), Content: chat.Text(instructions)})
	}
	loop := 0 // the step behind the last user message: the current tool loop
	for i, s := range x.steps {
		if s.message != nil && s.message.Role == "user" {
			loop = i + 1
		}
	}
	for i, s := range x.steps {
		if s.message != nil {
			out = append(out, *s.message)
			continue
		}
		m, err := x.assistantMessage(s.turn, allTurns || i >= loop)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
		out = x.toolMessages(out, s.turn)
	}
	return x.systems(out), nil
}

func (x *itemReader) assistantMessage(t *turn, withReasoning bool) (chat.Message, error) {
	m := chat.Message{Role: "assistant", Refusal: t.refusal}
	texts := t.texts
	if slices.Contains(texts, "") {
		texts = slices.DeleteFunc(slices.Clone(texts), func(s string) bool { return s == "" })
	}
	switch {
	case len(texts) > 0:
		m.Content = chat.Text(strings.Join(texts, "\n\n"))
	case (len(t.calls) > 0 || t.refusal != "") && x.d.NullContent:
		m.NullContent = true
	case len(t.calls) > 0 && x.d.NoContent:
	default:
		m.Content = chat.Text("")
	}
	signed := slices.ContainsFunc(t.calls, func(c chat.ToolCall) bool { return x.signatures[c.ID] != nil })
	for i, c := range t.calls {
		if t.outputs[c.ID] == nil {
			return m, invalid("", "input", "No tool output found for function call %s. Send its output too.", c.ID)
		}
		if x.d.Signatures && (x.signatures[c.ID] != nil || !signed && i == 0) {
			extra := x.signatures[c.ID]
			if err := x.o.unpack(int64(len(extra))); err != nil { // calls may have one id again and again
				return m, err
			}
			c.Unknown = signature(extra)
		}
		c.ID = x.d.callID(c.ID)
		m.ToolCalls = append(m.ToolCalls, c)
	}
	reasoning := strings.Join(t.reasoning, "\n\n")
	if !withReasoning {
		reasoning = ""
	}
	if reasoning == "" && !x.d.ReasoningAlways {
		return m, nil
	}
	switch x.d.Reasoning {
	case "reasoning_content":
		m.ReasoningContent = &reasoning
	case "reasoning":
		m.Reasoning = &reasoning
	}
	return m, nil
}

// signature is what Gemini wants to see again in a call that it made: it signs
// the first of a step. For a call that another model made its documentation names
// a word that stands for one.
// https://ai.google.dev/gemini-api/docs/thought-signatures
func signature(extra jsontext.Value) jsontext.Value {
	if extra == nil {
		extra = jsontext.Value(`{"google":{"thought_signature":"skip_thought_signature_validator"}}`)
	}
	return append(append(jsontext.Value(`{"extra_content":`), extra...), '}')
}

func (x *itemReader) toolMessages(out []chat.Message, t *turn) []chat.Message {
	var attached []chat.Part
	for _, c := range t.calls {
		o := t.outputs[c.ID]
		m := chat.Message{Role: "tool", ToolCallID: x.d.callID(c.ID), Content: chat.Text(o.text)}
		if x.d.ToolName {
			m.Name = x.names[c.ID]
		}
		out = append(out, m)
		if len(o.attached) > 0 {
			attached = append(attached, chat.Part{Type: "text", Text: "Attached output of tool call " + m.ToolCallID + ":"})
			attached = append(attached, o.attached...)
		}
	}
	if attached != nil {
		out = append(out, chat.Message{Role: "user", Content: chat.Parts(attached...)})
	}
	return out
}

// systems merges the leading system messages, and turns later ones into user
// messages, where the upstream's template can do no better.
func (x *itemReader) systems(in []chat.Message) []chat.Message {
	if x.d.ManySystem {
		return in
	}
	for i := range in {
		if in[i].Role == "system" {
			in[i].Content = joined(in[i].Content)
		}
	}
	lead := 0
	for lead < len(in) && in[lead].Role == "system" && in[lead].Content.IsText() {
		lead++
	}
	out := in
	if lead > 1 {
		texts := make([]string, lead)
		for i := range texts {
			texts[i] = in[i].Content.Text
		}
		in[lead-1].Content = chat.Text(strings.Join(texts, "\n\n"))
		out = in[lead-1:]
	}
	if !x.d.OneSystem {
		return out
	}
	for i := 1; i < len(out); i++ {
		if m := &out[i]; m.Role == "system" {
			m.Role = "user"
			if m.Content.IsText() {
				m.Content = chat.Text("[System message]\n" + m.Content.Text)
			}
		}
	}
	return out
}

// joined is content of text parts as one string. Templates take no other for a
// system message.
func joined(c chat.Content) chat.Content {
	if c.IsText() || slices.ContainsFunc(c.Parts, func(p chat.Part) bool { return p.Type != "text" || p.CacheBreakpoint != nil }) {
		return c
	}
	texts := make([]string, len(c.Parts))
	for i := range c.Parts {
		texts[i] = c.Parts[i].Text
	}
	return chat.Text(strings.Join(texts, "\n\n"))
}
