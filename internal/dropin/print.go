package dropin

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
)

// Usage writes the settings for the help, in their groups.
func Usage(w io.Writer) {
	group := ""
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range Settings {
		if s.Group != group {
			group = s.Group
			t.Flush()
			fmt.Fprintf(t, "\n%s:\n", group)
		}
		flag := "--" + s.Flag
		if s.Value != "" {
			flag += " " + s.Value
		}
		help := s.Help
		if s.Default != "" {
			help += " (default: " + s.Default + ")"
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\n", flag, s.Var, help)
	}
	t.Flush()
}

// Print writes every setting with its value and where it comes from. Of secrets it
// tells only that they are set, and of URLs not the password.
func (v *Values) Print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range Settings {
		text, source := v.text(s.Var), "default"
		if v.isSet(s.Var) {
			if source = v.values[s.Var].source; source == "" {
				source = "environment"
			}
		}
		switch {
		case text == "":
			text, source = "", "not set"
		case s.Secret && strings.Contains(text, "://"):
			text = noPassword(text)
		case s.Secret && s.Var != "CHAT2RESPONSE_STATE":
			text = "(not shown)"
		default:
			text = Shown(text)
		}
		fmt.Fprintf(t, "%s=%s\t# %s\n", s.Var, text, source)
	}
	t.Flush()
}

// noPassword is a URL without what may be secret in it.
func noPassword(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" && u.Path == "" {
		return "(not shown)"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// Shown is a text as a message may show it: without the user and the password of a URL, and without its query, where
// keys stand too. A password that was not escaped may itself hold any of /?#@ and so make the text no URL at all, so
// this looks at the text, not at a URL: all before the last @ goes.
func Shown(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	if ok {
		scheme += "://"
	} else {
		scheme, rest = "", text
	}
	hidden := ""
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		hidden, rest = "…", rest[i:]
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 && ok {
		rest = rest[:i] + "?…"
	}
	return scheme + hidden + rest
}
