package chat2response

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

var fences = regexp.MustCompile("(?s)```caddyfile\n(.*?)```")

// Every Caddyfile in the documentation and among the examples is valid.
func TestDocumentedCaddyfiles(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-for-the-test")
	t.Setenv("CHAT2RESPONSE_ADMIN_TOKEN", "a token for the documentation's test")
	found := map[string][]string{}
	for _, pattern := range []string{"README.md", "docs/*.md"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			for _, m := range fences.FindAllStringSubmatch(readFile(t, file), -1) {
				found[file] = append(found[file], m[1])
			}
		}
	}
	files, _ := filepath.Glob("examples/*.Caddyfile")
	for _, file := range files {
		found[file] = []string{readFile(t, file)}
	}
	if len(found) < 8 {
		t.Errorf("only %d files have Caddyfiles", len(found))
	}
	for file, list := range found {
		for _, source := range list {
			config, _, err := tryAdapt(source)
			if err != nil {
				t.Errorf("%s: %v\n%s", file, err, source)
				continue
			}
			var c caddy.Config
			if err := json.Unmarshal(config, &c); err != nil {
				t.Fatal(err)
			}
			// Automatic HTTPS would look for certificates; what is checked is ours.
			c.AppsRaw = caddy.ModuleMap{"http": c.AppsRaw["http"]}
			if err := caddy.Validate(&c); err != nil {
				t.Errorf("%s: %v\n%s", file, err, source)
			}
		}
	}
}

// The README's tables of what is not carried over are those that the code is held
// to.
func TestDocumentedLosses(t *testing.T) {
	readme := readFile(t, "README.md")
	for _, row := range strings.Split(readFile(t, filepath.Join("convert", "testdata", "losses.md")), "\n") {
		if strings.HasPrefix(row, "| `") && !strings.Contains(readme, row+"\n") {
			t.Errorf("the README does not have: %s", row)
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What docs/troubleshooting.md quotes is what the program says. … stands for what
// differs; a number in front is the status.
func TestDocumentedMessages(t *testing.T) {
	var source strings.Builder
	for _, pattern := range []string{"*.go", "internal/dropin/*.go", "store/*.go", "keystore/*.go"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				source.WriteString(strings.ReplaceAll(readFile(t, file), `\"`, `"`))
			}
		}
	}
	quoted := 0
	for _, line := range strings.Split(readFile(t, filepath.Join("docs", "troubleshooting.md")), "\n") {
		message, ok := strings.CutPrefix(line, "> ")
		if !ok || !strings.HasSuffix(message, ".") && !strings.Contains(message, "…") {
			continue // a symptom in other words than the program's
		}
		if _, after, ok := strings.Cut(message, ", or: "); ok {
			message = after
		}
		for _, part := range strings.Split(strings.TrimLeft(message, "0123456789 "), "…") {
			part = strings.Trim(part, " ")
			if len(part) < 12 {
				continue
			}
			quoted++
			if !strings.Contains(source.String(), part) {
				t.Errorf("the program does not say %q", part)
			}
		}
	}
	if quoted < 12 {
		t.Errorf("only %d messages were looked for", quoted)
	}
}

var (
	links    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headings = regexp.MustCompile(`(?m)^#+ (.*)$`)
	code     = regexp.MustCompile("(?s)```.*?```")
	noAnchor = regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
)

// Every link between the project's pages leads somewhere, and so does its anchor.
func TestDocumentedLinks(t *testing.T) {
	pages, _ := filepath.Glob("docs/*.md")
	seen := 0
	for _, page := range append(pages, "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md") {
		for _, m := range links.FindAllStringSubmatch(readFile(t, page), -1) {
			path, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			seen++
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s: %v", page, m[1], err)
				continue
			}
			found := anchor == ""
			if !found {
				for _, h := range headings.FindAllStringSubmatch(code.ReplaceAllString(readFile(t, target), ""), -1) {
					name := strings.ReplaceAll(noAnchor.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-")
					found = found || name == anchor
				}
			}
			if !found {
				t.Errorf("%s: %s: there is no such heading", page, m[1])
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d links", seen)
	}
}
