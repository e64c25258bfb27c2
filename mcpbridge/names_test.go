package mcpbridge

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

var pattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Test 17: names are distinct, short, and do not depend on who is connected.
func TestNames(t *testing.T) {
	long := strings.Repeat("x", 90)
	tools := map[string][]string{
		"a":     {"b_c", "c", long + "1", long + "2", "files.read", "files_read", "über"},
		"a_b":   {"c", "d"},
		"a.b":   {"c", "d"},
		"文件":    {"读", "写"},
		long:    {"t", "u"},
		"a_b_c": {"", "x"},
	}
	servers := slices.Sorted(keys(tools))
	all := map[string]string{}
	for _, s := range servers {
		reversed := slices.Clone(tools[s])
		slices.Reverse(reversed)
		for _, order := range [][]string{tools[s], reversed} {
			for tool, name := range exposed(s, servers, order) {
				if !pattern.MatchString(name) {
					t.Errorf("%s/%s: %q", s, tool, name)
				}
				if was, dup := all[name]; dup && was != s+"/"+tool {
					t.Errorf("%s/%s and %s are both %s", s, tool, was, name)
				}
				all[name] = s + "/" + tool
			}
		}
	}
	for name, want := range map[string]string{"a_c": "a/c", "a_b_c": "a_b/c", "a_b_d": "a_b/d", "a_files_read": "a/files_read"} {
		if all[name] != want {
			t.Errorf("%s is %q, not %q", name, all[name], want)
		}
	}
	// The name is the same whether one asks for one tool or for all.
	if one := exposed("a", servers, []string{"b_c"}); all[one["b_c"]] != "a/b_c" || one["b_c"] == "a_b_c" {
		t.Errorf("a/b_c alone is %s", one["b_c"])
	}
}

// Test 16: every odd schema becomes one that a model's API takes, the same bytes every time.
func TestParameters(t *testing.T) {
	for schema, want := range map[string]string{
		``:                    `{"type":"object","properties":{}}`,
		`true`:                `{"type":"object","properties":{}}`,
		`{}`:                  `{"type":"object","properties":{}}`,
		`null`:                `{"type":"object","properties":{}}`,
		`{"type":"object"}`:   `{"type":"object","properties":{}}`,
		`{"properties":true}`: `{"type":"object","properties":{}}`,
		`{"type":["object","null"],"properties":{"z":{"type":"integer","maximum":9007199254740993},"a":{"anyOf":[{"type":"string"}]}},"required":["z"]}`: `{"type":"object","properties":{"z":{"type":"integer","maximum":9007199254740993},"a":{"anyOf":[{"type":"string"}]}},"required":["z"]}`,
		`{"$schema":"s","$id":"i","title":"T","type":"object","properties":{"a":{}},"patternProperties":{"^x":{}},"additionalProperties":false}`:         `{"title":"T","type":"object","properties":{"a":{}},"patternProperties":{"^x":{}},"additionalProperties":false}`,
		`{"anyOf":[{"properties":{"a":{"type":"string"}},"required":["a"]},{"$ref":"#/$defs/B"}],"$defs":{"B":{"properties":{"b":{"const":1}}}}}`:        `{"type":"object","$defs":{"B":{"properties":{"b":{"const":1}}}},"properties":{"a":{"type":"string"},"b":{"const":1}}}`,
		`{"type":"object","properties":{"x":{}},"required":["x"],"allOf":[{"properties":{"y":{}},"required":["y"]}]}`:                                    `{"type":"object","properties":{"x":{},"y":{}},"required":["x","y"]}`,
		`{"type":"object","properties":{"x":{}},"required":true,"not":{},"if":{},"then":{},"enum":[1]}`:                                                  `{"type":"object","properties":{"x":{}}}`,
		"{\n  \"type\": \"object\",\n  \"properties\": { \"a\": { \"description\": \"two  blanks\" } }\n}":                                               `{"type":"object","properties":{"a":{"description":"two  blanks"}}}`,
		`{"anyOf":[{"$ref":"#/anyOf/0"}]}`: `{"type":"object","properties":{}}`,
	} {
		for range 2 {
			if got := string(parameters(jsontext.Value(schema))); got != want {
				t.Errorf("%s\n got %s\nwant %s", schema, got, want)
			}
		}
	}
}

func value(members []member, name string) jsontext.Value {
	for _, m := range members {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

func FuzzParameters(f *testing.F) {
	f.Add(`{"type":"object","properties":{"a":{"$ref":"#/$defs/A"}},"allOf":[{"required":["a"]}]}`)
	f.Add(`{"anyOf":[{"$ref":"#/$defs/B"}],"$defs":{"B":{"properties":{"b":{}}}}}`)
	f.Fuzz(func(t *testing.T, schema string) {
		v := jsontext.Value(schema)
		if !v.IsValid(lenient) {
			return
		}
		got := parameters(v)
		if !got.IsValid(lenient) || !strings.Contains(string(value(object(got), "type")), `"object"`) {
			t.Errorf("%s became %s", schema, got)
		}
		again := parameters(got)
		if string(again) != string(got) {
			t.Errorf("%s\nbecame %s\nand then %s", schema, got, again)
		}
	})
}

func TestDescribed(t *testing.T) {
	got := described("Reads.\u202e\u2066\u200b \U000e0041\x07\n\tTabs stay. é")
	if got != "Reads. \n\tTabs stay. é" {
		t.Errorf("%q", got)
	}
	if got := described(strings.Repeat("é", 4000)); len(got) > maxDescription || !strings.HasSuffix(got, "é") {
		t.Errorf("%d bytes", len(got))
	}
}

func TestShorten(t *testing.T) {
	if got := shorten("aé", 2); got != "a\n[2 more bytes cut]" {
		t.Errorf("%q", got)
	}
	r := result{content: []Content{{Type: "text", Text: strings.Repeat("x", 60)}, {Type: "image", Data: strings.Repeat("A", maxData)}, {Type: "image", Data: "AAAA", MIMEType: "image/png"}}}
	r.fit(50)
	if len(r.content[0].Text) > 80 || r.content[1].Data == "" || r.content[2].Type != "text" || r.content[2].Text != "[image image/png, 4 bytes of base64, not shown]" {
		t.Errorf("%.200v", r.content)
	}
}

func FuzzLines(f *testing.F) {
	f.Add("a\nb\r\n\nlast", uint8(4))
	f.Add(strings.Repeat("x", 300)+"\ny", uint8(200))
	f.Add(strings.Repeat("\r", 300)+"\n", uint8(4))
	f.Fuzz(func(t *testing.T, text string, most uint8) {
		limit := int(most) + 16 // bufio's smallest buffer is 16 bytes
		var want []string
		tooLong := false
		scan := bufio.NewScanner(strings.NewReader(text))
		for scan.Scan() {
			line := scan.Text()
			tooLong = tooLong || len(line) > limit
			want = append(want, line)
		}
		for _, whole := range []bool{true, false} {
			in := newLines(iotest{strings.NewReader(text)}, limit, whole)
			var got []string
			for {
				line, err := in.next()
				if err == io.EOF {
					break
				}
				if errors.Is(err, errLineTooLong) {
					if !tooLong || !whole {
						t.Fatalf("limit %d: %q", limit, text)
					}
					return
				}
				if len(line) > limit {
					t.Fatalf("a line of %d bytes above %d", len(line), limit)
				}
				got = append(got, string(line))
			}
			if !tooLong && !slices.Equal(got, want) {
				t.Fatalf("got %q, want %q", got, want)
			}
			if whole && tooLong {
				t.Fatalf("limit %d: a longer line came through: %q", limit, text)
			}
			if len(got) != len(want) {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
	})
}

// iotest reads three bytes at a time.
type iotest struct{ r io.Reader }

func (i iotest) Read(p []byte) (int, error) { return i.r.Read(p[:min(3, len(p))]) }

func FuzzPeer(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":"1","result":{}}`))
	f.Add([]byte(`{"method":"ping","id":null}`))
	f.Add([]byte(`{"method":"notifications/tools/list_changed","params":{"_meta":1}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p := newPeer(nil)
		p.deliver(bytes.Clone(raw))
		select {
		case r := <-p.replies:
			if !jsontext.Value(r).IsValid(lenient) {
				t.Errorf("answered %q with %q", raw, r)
			}
		default:
		}
	})
}
