package doctor

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/labiium/chat2response/convert"
)

// get is the outcome of a probe, or nil if it was not made.
func (r *Report) get(api convert.API, name string) *Result {
	for i := range r.Results {
		if r.Results[i].API == api && r.Results[i].Probe == name {
			return &r.Results[i]
		}
	}
	return nil
}

func (r *Report) ok(api convert.API, name string) bool {
	got := r.get(api, name)
	return got != nil && got.OK
}

// responsesFirst are the dialects whose Responses API is the first of the two; elsewhere it
// is younger than the gateway's own.
var responsesFirst = []string{"openai", "azure", "xai"}

// judge chooses the API to use: the one of which more works.
func (r *Report) judge() {
	score := map[convert.API]int{}
	for _, result := range r.Results {
		if result.OK {
			score[result.API]++
		}
	}
	r.Mode = convert.Chat
	if score[convert.Responses] > score[convert.Chat] || score[convert.Responses] == score[convert.Chat] && slices.Contains(responsesFirst, r.Dialect) {
		r.Mode = convert.Responses
	}
	if r.ok(r.Mode, plainAnswer) && r.ok(r.Mode, streams) {
		return
	}
	var why []string
	for _, api := range []convert.API{convert.Chat, convert.Responses} {
		for _, name := range []string{plainAnswer, streams} {
			if got := r.get(api, name); got != nil && !got.OK {
				why = append(why, fmt.Sprintf("%s, %s: %s", names[api], name, got.Note))
				break
			}
		}
	}
	r.Broken = "neither API both answers and streams (" + strings.Join(why, "; ") + ")"
}

// Write writes the report for people: what was found, and the configuration to use.
//
// What the upstream says is in it, and moves no terminal's cursor.
func (r *Report) Write(to io.Writer) error {
	w := new(strings.Builder)
	r.write(w)
	_, err := io.WriteString(to, strings.Map(func(c rune) rune {
		if c != '\n' && c != '\t' && !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, w.String()))
	return err
}

func (r *Report) write(w io.Writer) {
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	p("upstream  %s", r.URL)
	if len(r.Models) > 0 {
		shown := strings.Join(r.Models[:min(8, len(r.Models))], ", ")
		if len(r.Models) > 8 {
			shown += ", …"
		}
		p("models    %d: %s", len(r.Models), shown)
	}
	if r.Model != "" {
		p("asked     %s", r.Model)
	}
	if len(r.Results) > 0 {
		p("dialect   %s: %s", r.Dialect, strings.Join(r.Why, "; "))
		p("")
		t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
		fmt.Fprintf(t, "\t%s\t%s\n", names[convert.Chat], names[convert.Responses])
		for _, probe := range probes {
			fmt.Fprintf(t, "%s\t%s\t%s\n", probe.name, r.cell(convert.Chat, probe.name), r.cell(convert.Responses, probe.name))
		}
		t.Flush()
		p("")
		for _, result := range r.Results {
			if !result.OK {
				p("%s, %s: %s", names[result.API], result.Probe, result.Note)
			}
		}
		p("")
	}
	if r.Broken != "" {
		p("It cannot be used: %s.", r.Broken)
		return
	}
	p("Use it so:\n\n%s\nor, without a Caddyfile:\n\n%s", r.Caddyfile(), r.Command())
}

func (r *Report) cell(api convert.API, name string) string {
	got := r.get(api, name)
	switch {
	case got == nil:
		return "-"
	case !got.OK:
		return "no"
	case got.Note != "":
		return "yes, " + got.Note
	}
	return "yes"
}

// Caddyfile is the configuration for the upstream.
func (r *Report) Caddyfile() string {
	var b strings.Builder
	fmt.Fprintf(&b, "http://localhost:8088 {\n\tbind 127.0.0.1\n\n\tchat2response %s {\n\t\tmode %s\n", r.URL, r.Mode)
	if r.Dialect != "generic" {
		fmt.Fprintf(&b, "\t\tdialect %s\n", r.Dialect)
	}
	if r.Keyed {
		b.WriteString("\t\tapi_key {env." + r.KeyName + "}\n\t\tkeys bbolt\n")
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}

// Command is the same as variables.
func (r *Report) Command() string {
	s := "OPENAI_BASE_URL=" + r.URL + " UPSTREAM_MODE=" + string(r.Mode)
	if r.Dialect != "generic" {
		s += " CHAT2RESPONSE_DIALECT=" + r.Dialect
	}
	if r.Keyed && r.KeyName != defaultKeyName {
		s += ` OPENAI_API_KEY="$` + r.KeyName + `"`
	}
	return s + " chat2response\n"
}
