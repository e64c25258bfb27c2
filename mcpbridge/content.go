package mcpbridge

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Content is one piece of a tool's result (MCP 2025-11-25, server/tools, "Tool Result"). Which fields are set depends
// on Type.
type Content struct {
	// Type is "text", "image", "audio", "resource" or "resource_link". What a server sends that is none of these
	// becomes "text" with its JSON in Text.
	Type string
	// Text of "text", and of a "resource" that is text.
	Text string
	// Data of "image", "audio" and of a "resource" that is bytes: base64, as sent.
	Data string
	// MIMEType of Data or Text, "image/png" for instance. May be empty.
	MIMEType string
	// URI and Name of "resource" and "resource_link".
	URI, Name string
}

// result is what a tool answered.
type result struct {
	content    []Content
	structured jsontext.Value // nil if there was none
	failed     bool           // isError
}

// wireContent is one element of `content`; a resource is nested in it.
type wireContent struct {
	Type     string       `json:"type"`
	Text     *string      `json:"text"`
	Data     string       `json:"data"`
	Blob     string       `json:"blob"`
	MIMEType string       `json:"mimeType"`
	URI      string       `json:"uri"`
	Name     string       `json:"name"`
	Resource *wireContent `json:"resource"`
}

// readResult decodes a tools/call result. It takes what servers send: no content, one object in place of the list, and
// types that nobody has heard of.
func readResult(raw jsontext.Value) (result, error) {
	var w struct {
		Content    jsontext.Value `json:"content"`
		Structured jsontext.Value `json:"structuredContent"`
		IsError    jsontext.Value `json:"isError"`
	}
	if err := json.Unmarshal(raw, &w, lenient); err != nil {
		return result{}, fmt.Errorf("%w: its result is not an object", ErrLost)
	}
	r := result{failed: string(w.IsError) == "true"}
	if k := w.Structured.Kind(); k == '{' || k == '[' {
		r.structured = w.Structured
	}
	var pieces []jsontext.Value
	switch w.Content.Kind() {
	case '[':
		if err := json.Unmarshal(w.Content, &pieces, lenient); err != nil {
			return result{}, fmt.Errorf("%w: its content cannot be read", ErrLost)
		}
	case '{', '"':
		pieces = []jsontext.Value{w.Content}
	}
	if n := len(pieces); n > maxPieces {
		more, _ := jsontext.AppendQuote(nil, fmt.Sprintf("[%d more pieces cut]", n-maxPieces))
		pieces = append(pieces[:maxPieces:maxPieces], more)
	}
	for _, p := range pieces {
		r.content = append(r.content, readContent(p))
	}
	return r, nil
}

func readContent(raw jsontext.Value) Content {
	var w wireContent
	if raw.Kind() != '{' || json.Unmarshal(raw, &w, lenient) != nil {
		var s string
		if json.Unmarshal(raw, &s, lenient) == nil {
			return Content{Type: "text", Text: s}
		}
		return Content{Type: "text", Text: raw.String()}
	}
	c := Content{Type: w.Type, Data: w.Data, MIMEType: w.MIMEType, URI: w.URI, Name: w.Name}
	if w.Text != nil {
		c.Text = *w.Text
	}
	switch {
	case w.Type == "text" && w.Text != nil, w.Type == "image", w.Type == "audio", w.Type == "resource_link":
		return c
	case w.Type == "resource" && w.Resource != nil:
		in := w.Resource
		c = Content{Type: "resource", Data: in.Blob, MIMEType: in.MIMEType, URI: in.URI, Name: in.Name}
		if in.Text != nil {
			c.Text = *in.Text
		}
		return c
	}
	return Content{Type: "text", Text: raw.String()}
}

// maxData is the most base64 in bytes that a result may have; pieces beyond it are replaced by a line of text.
const maxData = 4 << 20

// fit cuts a result's text, and what goes with it, to limit bytes in all and its data to [maxData].
func (r *result) fit(limit int) {
	data := 0
	for i := range r.content {
		c := &r.content[i]
		c.MIMEType, c.URI, c.Name = brief(c.MIMEType, maxSaid), brief(c.URI, maxURI), brief(c.Name, maxSaid)
		if data+len(c.Data) > maxData {
			*c = Content{Type: "text", Text: placeholder(*c)}
			continue
		}
		data += len(c.Data)
		c.Text = shorten(c.Text, limit)
		limit -= min(limit, len(c.Text))
	}
}

// maxURI is the most of a resource's URI in bytes that is passed on.
const maxURI = 8 << 10

// text is the result as plain text, for models and protocols that take nothing else.
func (r *result) text(limit int) string {
	var lines []string
	for _, c := range r.content {
		lines = append(lines, plain(c))
	}
	if len(lines) == 0 && r.structured != nil {
		lines = append(lines, string(r.structured))
	}
	if len(lines) == 0 {
		return "(no output)"
	}
	return shorten(strings.Join(lines, "\n"), limit)
}

func plain(c Content) string {
	switch {
	case c.Type == "text":
		return c.Text
	case c.Type == "resource_link":
		return fmt.Sprintf("[resource %s: %s]", c.Name, c.URI)
	case c.Type == "resource" && c.Data == "":
		return fmt.Sprintf("[resource %s]\n%s", c.URI, c.Text)
	}
	return placeholder(c)
}

func placeholder(c Content) string {
	return fmt.Sprintf("[%s %s, %d bytes of base64, not shown]", c.Type, orElse(c.MIMEType, "of unknown type"), len(c.Data))
}

// shorten cuts s to limit bytes and says how much is missing.
func shorten(s string, limit int) string {
	kept, more := cut(s, limit)
	if more == 0 {
		return s
	}
	return fmt.Sprintf("%s\n[%d more bytes cut]", kept, more)
}

// cut returns the first bytes of s up to limit, whole characters only, and how many are missing.
func cut(s string, limit int) (string, int) {
	if len(s) <= limit {
		return s, 0
	}
	n := max(limit, 0)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n], len(s) - n
}
