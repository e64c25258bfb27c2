package fakeopenai

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// playDemo is the model of `chat2response --demo`: it thinks aloud for a moment, calls a tool that the question
// names, and otherwise gives the question back in a friendly sentence.
func playDemo(a *ask, _ *mint) (answer, *apiError) {
	question := strings.Join(strings.Fields(a.lastUser()), " ")
	if outputs := a.outputs(); len(outputs) > 0 {
		return answer{items: []item{
			thinking("The tool has answered. I put it into words."),
			{kind: textItem, pieces: words(demoReport(a, question, outputs))},
		}}, nil
	}
	if a.format.kind == "json_schema" || a.format.kind == "json_object" {
		return playJSON(a, nil)
	}
	if calls := demoCalls(a, a.lastUser()); len(calls) > 0 {
		return answer{items: append([]item{thinking("The question says which tools to call, and how.")}, calls...)}, nil
	}
	if o, ok := demoTool(a, question); ok {
		return answer{items: []item{
			thinking(fmt.Sprintf("This looks like a question for the tool %s. I call it.", o.name)),
			callOf(o, 0),
		}}, nil
	}
	return answer{items: []item{
		thinking("A person asks me something. No tool is needed; I answer myself."),
		{kind: textItem, pieces: words(demoAnswer(a, question))},
	}}, nil
}

func demoReport(a *ask, question string, outputs []turn) string {
	var b strings.Builder
	fmt.Fprintf(&b, "You asked: “%s” Here is what I found.", question)
	for _, o := range outputs {
		fmt.Fprintf(&b, " %s says: %s", a.callName(o.callID), strings.TrimSpace(o.text))
	}
	return b.String()
}

func demoAnswer(a *ask, question string) string {
	if question == "" {
		return "Hello! I am the demo model of chat2response. Ask me anything; I will gladly say it back to you."
	}
	seen := ""
	if n := len(a.images()); n > 0 {
		seen = fmt.Sprintf(" I also see %d image(s).", n)
	}
	return fmt.Sprintf("You asked: “%s” That is a fine question.%s I am only the demo model of chat2response, "+
		"so I know no answer, but every word of this one was streamed to you through the gateway.", question, seen)
}

// demoCalls are calls that the question spells out: the name of a tool that was offered, and behind it a JSON object with
// its arguments.
func demoCalls(a *ask, question string) (items []item) {
	list := callable(a, isFunction)
	for rest := question; ; {
		at, found := len(rest), offer{}
		for _, o := range list {
			if i := strings.Index(rest, o.name); i >= 0 && (i < at || i == at && len(o.name) > len(found.name)) {
				at, found = i, o
			}
		}
		if found.name == "" {
			return items
		}
		rest = rest[at+len(found.name):]
		dec := json.NewDecoder(strings.NewReader(rest))
		var args map[string]any
		if !strings.HasPrefix(strings.TrimSpace(rest), "{") || dec.Decode(&args) != nil {
			continue
		}
		text := strings.TrimSpace(rest[:dec.InputOffset()])
		items = append(items, item{kind: functionItem, name: found.name, namespace: found.namespace, pieces: chop(text, 16)})
		rest = rest[dec.InputOffset():]
	}
}

// demoTool is the tool that the question is about: the one that is forced, or whose name or description shares a
// telling word with it.
func demoTool(a *ask, question string) (offer, bool) {
	list := callable(a, func(offer) bool { return true })
	if len(list) == 0 {
		return offer{}, false
	}
	asked := tellingWords(question)
	best, most := list[0], 0
	for _, o := range list {
		score := 0
		for w := range tellingWords(o.name) {
			if asked[w] {
				score += 3
			}
		}
		for w := range tellingWords(o.description) {
			if asked[w] {
				score++
			}
		}
		if score > most {
			best, most = o, score
		}
	}
	return best, most > 0 || a.choice.mode == "required"
}

// commonWords say nothing about a subject. Shorter words than four letters are left out anyway.
var commonWords = map[string]bool{"about": true, "call": true, "current": true, "does": true, "from": true, "give": true, "have": true,
	"like": true, "make": true, "please": true, "some": true, "tell": true, "that": true, "their": true, "there": true, "this": true,
	"tool": true, "what": true, "when": true, "where": true, "which": true, "will": true, "with": true, "would": true, "your": true,
	"function": true, "returns": true, "given": true, "user": true}

func tellingWords(s string) map[string]bool {
	found := map[string]bool{}
	for _, w := range strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !unicode.IsLetter(r) }) {
		if len([]rune(w)) >= 4 && !commonWords[w] {
			found[w] = true
		}
	}
	return found
}
