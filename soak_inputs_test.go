//go:build soak

package chat2response

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/internal/fakeopenai"
	"github.com/labiium/chat2response/keystore"
	"github.com/labiium/chat2response/mcpbridge"
	"github.com/labiium/chat2response/sse"
	"github.com/labiium/chat2response/store"
)

var soakInputs = flag.Int("soak.inputs", 10_000_000, "how many inputs TestSoakInputs gives to each reader")

// inputs are the readers of what strangers send, each with what it is given changed copies of.
var inputs = []struct {
	name string
	// fuzz are the fuzz targets whose inputs that Go has kept are seeds too.
	fuzz  []string
	seeds func(t *testing.T) [][]byte
	read  func(t *testing.T) func([]byte) bool // whether it made sense
}{
	{"chat request", []string{"convert/FuzzReadChat"}, goldenRequests("messages"), func(t *testing.T) func([]byte) bool { return readRequest(t, convert.Chat) }},
	{"responses request", []string{"convert/FuzzReadResponses"}, goldenRequests("input"), func(t *testing.T) func([]byte) bool { return readRequest(t, convert.Responses) }},
	{"chat answer", []string{"convert/FuzzAnswer"}, fakes(fakeopenai.Answer, fakeopenai.Chat), func(t *testing.T) func([]byte) bool { return readAnswer(t, convert.Chat) }},
	{"responses answer", []string{"convert/FuzzAnswer"}, fakes(fakeopenai.Answer, fakeopenai.Responses), func(t *testing.T) func([]byte) bool { return readAnswer(t, convert.Responses) }},
	{"chat stream", []string{"convert/FuzzChatStream"}, fakes(fakeStream, fakeopenai.Chat), func(t *testing.T) func([]byte) bool { return readStream(t, convert.Chat) }},
	{"responses stream", []string{"convert/FuzzResponsesStream"}, fakes(fakeStream, fakeopenai.Responses), func(t *testing.T) func([]byte) bool { return readStream(t, convert.Responses) }},
	{"events", []string{"sse/FuzzParser"}, fakes(fakeStream, fakeopenai.Chat), func(t *testing.T) func([]byte) bool {
		return func(b []byte) bool {
			var p sse.Parser
			k := len(b) / 2
			take := func(sse.Event) error { return nil }
			if err := errors.Join(p.Feed(b[:k], take), p.Feed(b[k:], take), p.Close(take)); err != nil {
				t.Fatal(err)
			}
			return true
		}
	}},
	{"error body", []string{"convert/FuzzReadError"}, errorBodies, func(t *testing.T) func([]byte) bool {
		return func(b []byte) bool {
			if e := convert.ReadError(400+len(b)%200, b); e.Message == "" || !json.Valid(e.Body()) {
				t.Fatalf("%+v", e)
			}
			return json.Valid(b)
		}
	}},
	{"token", []string{"keystore/FuzzVerify"}, constant(goodToken), readToken},
	{"record", []string{"keystore/FuzzRecord"}, constant(goodRecord), readRecord},
	{"mcp.json", []string{"mcpbridge/FuzzParse"}, files("mcpbridge/testdata/*.json", "testdata/mcp.json"), func(t *testing.T) func([]byte) bool {
		return func(b []byte) bool {
			_, err := mcpbridge.Parse("mcp.json", b, func(string) (string, bool) { return "x", true })
			if err != nil && !strings.HasPrefix(err.Error(), "mcp.json:") {
				t.Fatal(err)
			}
			return err == nil
		}
	}},
	{"Caddyfile", nil, directives, func(*testing.T) func([]byte) bool {
		return func(b []byte) bool {
			tokens, err := caddyfile.Tokenize(b, "Caddyfile")
			return err == nil && new(Handler).UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)) == nil
		}
	}},
}

// TestSoakInputs is number 39's ten million inputs: none makes a reader panic, work for a
// second, or allocate a hundred times its size. They are changed at random, without the
// coverage that the fuzz targets go by, which is what makes so many possible.
func TestSoakInputs(t *testing.T) {
	for _, in := range inputs {
		t.Run(in.name, func(t *testing.T) {
			seeds := in.seeds(t)
			good := len(seeds)
			for _, name := range in.fuzz {
				seeds = append(seeds, kept(name)...)
			}
			m := newMutator(seeds, good)
			read := in.read(t)
			var current []byte
			defer func() {
				if e := recover(); e != nil || t.Failed() {
					t.Errorf("of %q: %v", current, e)
				}
			}()
			var slowest time.Duration
			most, sensible := uint64(0), 0
			for i := range *soakInputs {
				current = m.next()
				before, began := allocated(), time.Now()
				if read(current) {
					sensible++
				}
				took, rough := time.Since(began), allocated()-before
				slowest = max(slowest, took)
				if took > time.Second { // which the machine may have spent elsewhere
					if began = time.Now(); func() bool { read(current); return time.Since(began) > time.Second }() {
						t.Fatalf("%v for %d bytes", took, len(current))
					}
				}
				// Small inputs have the readers' own buffers besides. The collector adds other inputs' to the
				// rough figure; the exact one stops the world.
				if allowed := uint64(100*len(current) + 1<<20); rough > allowed || i%1000 == 0 {
					used := exactly(func() { read(current) })
					if most = max(most, used); used > allowed {
						t.Fatalf("%d bytes for %d", used, len(current))
					}
				}
			}
			t.Logf("%d seeds, %d inputs, %d %% of which made sense: the slowest took %v, the most that one of those measured allocated was %d bytes", len(seeds), *soakInputs, 100*sensible / *soakInputs, slowest, most)
		})
	}
}

// exactly returns how many bytes work allocates.
func exactly(work func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	work()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

var allocs = []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}

func allocated() uint64 {
	metrics.Read(allocs)
	return allocs[0].Value.Uint64()
}

// mutator makes inputs of seeds.
type mutator struct {
	seeds []seed
	good  int // of the first of which every second input is made
	// by has the values that stand in the seeds under a name, members all of these, words what else they consist of.
	by             map[string][][]byte
	members, words [][]byte
	r              *rand.Rand
	b              []byte
}

// seed is an input with the places of the values of the JSON in it.
type seed struct {
	text   []byte
	values []span
}

// span is where a value stands: of a member of that name, or of an element of one.
type span struct {
	name       string
	start, end int
	object     bool
}

var wordsOf = regexp.MustCompile(`"[^"\n]{0,40}"|[\w./:*@{}+-]+`)

// newMutator makes a mutator of texts, the first of which are good.
func newMutator(texts [][]byte, good int) *mutator {
	m := &mutator{r: rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano()))), by: map[string][][]byte{}}
	seen := map[string]bool{}
	add := func(list *[][]byte, kind string, text []byte) {
		if key := kind + "\x00" + string(text); !seen[key] {
			seen[key] = true
			*list = append(*list, text)
		}
	}
	for i, text := range texts {
		if i == good {
			m.good = len(m.seeds)
		}
		if len(text) > 16<<10 {
			continue
		}
		s := seed{text, spans(text)}
		m.seeds = append(m.seeds, s)
		for _, p := range s.values {
			value := text[p.start:p.end]
			list := m.by[p.name]
			add(&list, p.name, value)
			m.by[p.name] = list
			if !strings.HasSuffix(p.name, "[]") && p.name != "" {
				add(&m.members, "member", fmt.Appendf(nil, "%q:%s", p.name, value))
			}
		}
		for _, w := range wordsOf.FindAll(text, -1) {
			add(&m.words, "word", w)
		}
	}
	for _, w := range []string{`null`, `[]`, `{}`, `""`, `-1`, `0.5`, `true`, `1e999`, `99999999999999999999`, `"\ud800"`, "\xff", "\x00", "\r", "\n\n", `\`, `{"a":`, `[[[[`, `]`, `}`, `,`, `:`} {
		m.words = append(m.words, []byte(w))
	}
	return m
}

// spans finds the values of a text that is JSON, or has JSON in its lines.
func spans(text []byte) (found []span) {
	if jsontext.Value(text).IsValid() {
		return spansAt(text, 0)
	}
	at := 0
	for line := range bytes.Lines(text) {
		if i := bytes.IndexByte(line, '{'); i >= 0 && jsontext.Value(line[i:]).IsValid() {
			found = append(found, spansAt(line[i:], at+i)...)
		}
		at += len(line)
	}
	return found
}

func spansAt(text []byte, at int) (found []span) {
	d := jsontext.NewDecoder(bytes.NewReader(text))
	var walk func(name string)
	walk = func(name string) {
		kind := d.PeekKind()
		i := len(found)
		found = append(found, span{name: name, object: kind == '{'})
		token, err := d.ReadToken()
		end := int(d.InputOffset())
		start := end - 1
		switch {
		case err != nil:
			return
		case kind == '{':
			for d.PeekKind() != '}' {
				member, err := d.ReadToken()
				if err != nil {
					return
				}
				walk(member.String())
			}
			d.ReadToken()
			end = int(d.InputOffset())
		case kind == '[':
			for d.PeekKind() != ']' {
				walk(name + "[]")
			}
			d.ReadToken()
			end = int(d.InputOffset())
		case kind == '"':
			start = bytes.LastIndexByte(text[:end-1], '"')
			for escaped(text, start) {
				start = bytes.LastIndexByte(text[:start], '"')
			}
		default:
			start = end - len(token.String())
		}
		found[i].start, found[i].end = at+start, at+end
	}
	walk("")
	return found
}

// escaped tells whether a backslash stands before a place of a text that counts.
func escaped(text []byte, i int) bool {
	n := 0
	for i--; i >= 0 && text[i] == '\\'; i-- {
		n++
	}
	return n%2 == 1
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// next returns an input, which is good until the next. Half of them are changed value by
// value and stay JSON, the others byte by byte.
func (m *mutator) next() []byte {
	s := pick(m.r, m.seeds)
	if m.good > 0 && m.r.IntN(2) == 0 {
		s = pick(m.r, m.seeds[:m.good])
	}
	b := append(m.b[:0], s.text...)
	if len(s.values) > 0 && m.r.IntN(2) == 0 {
		b = m.values(b, s)
	} else {
		b = m.bytes(b)
	}
	if m.r.IntN(1000) == 0 && len(b) < 1<<10 { // deep, or long
		b = bytes.Repeat(b, 1+m.r.IntN(32))
	}
	m.b = b
	return b
}

// values changes up to three values, the last first, so that the places of the others stay.
func (m *mutator) values(b []byte, s seed) []byte {
	before := len(b)
	for range 1 + m.r.IntN(3) {
		p := pick(m.r, s.values)
		if p.end > before {
			continue
		}
		value := pick(m.r, m.by[p.name]) // another of the same name
		switch m.r.IntN(6) {
		case 0:
			value = pick(m.r, m.members) // of any name
			value = value[bytes.IndexByte(value, ':')+1:]
		case 1:
			value = pick(m.r, m.words)
		case 2, 3: // one more member
			if p.object && p.end-p.start > 2 {
				value = slices.Concat([]byte("{"), pick(m.r, m.members), []byte(","), b[p.start+1:p.end])
			}
		}
		b = slices.Replace(b, p.start, p.end, value...)
		before = p.start
	}
	return b
}

func (m *mutator) bytes(b []byte) []byte {
	for range 1 + m.r.IntN(3) {
		at := m.r.IntN(len(b) + 1)
		end := min(len(b), at+1+m.r.IntN(1+m.r.IntN(64)))
		switch m.r.IntN(7) {
		case 0, 1: // another word in the place of one
			if w := wordsOf.FindIndex(b[at:]); w != nil {
				b = slices.Replace(b, at+w[0], at+w[1], pick(m.r, m.words)...)
			}
		case 2: // another bit
			if at < len(b) {
				b[at] ^= 1 << m.r.IntN(8)
			}
		case 3:
			b = slices.Delete(b, at, end)
		case 4: // once more
			b = slices.Insert(b, at, slices.Clone(b[at:end])...)
		case 5:
			b = slices.Insert(b, at, pick(m.r, m.words)...)
		case 6: // a part of another
			other := pick(m.r, m.seeds).text
			from := m.r.IntN(len(other) + 1)
			b = slices.Insert(b, at, other[from:min(len(other), from+m.r.IntN(512))]...)
		}
	}
	return b
}

// kept are the inputs that Go's fuzzing found worth keeping, in its cache and in testdata.
func kept(target string) (found [][]byte) {
	dir, name := filepath.Split(target)
	cache, _ := exec.Command("go", "env", "GOCACHE").Output()
	for _, root := range []string{filepath.Join(dir, "testdata/fuzz", name), filepath.Join(strings.TrimSpace(string(cache)), "fuzz/github.com/labiium/chat2response", dir, name)} {
		filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil
			}
			b, _ := os.ReadFile(path)
			for line := range strings.Lines(string(b)) {
				line = strings.TrimSpace(line)
				for _, form := range []string{"[]byte(", "string("} {
					if text, ok := strings.CutPrefix(line, form); ok {
						if s, err := strconv.Unquote(strings.TrimSuffix(text, ")")); err == nil {
							found = append(found, []byte(s))
						}
					}
				}
			}
			return nil
		})
	}
	return found
}

func constant(s string) func(*testing.T) [][]byte {
	return func(*testing.T) [][]byte { return [][]byte{[]byte(s)} }
}

func files(patterns ...string) func(t *testing.T) [][]byte {
	return func(t *testing.T) (found [][]byte) {
		for _, pattern := range patterns {
			names, _ := filepath.Glob(pattern)
			for _, name := range names {
				b, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				found = append(found, b)
			}
		}
		return found
	}
}

// goldenRequests are the requests of the golden cases that have a member.
func goldenRequests(member string) func(t *testing.T) [][]byte {
	return func(t *testing.T) (found [][]byte) {
		for _, b := range files("convert/testdata/golden/*.json")(t) {
			var c struct {
				Exchanges []struct{ Request json.RawMessage }
			}
			if err := json.Unmarshal(b, &c); err != nil {
				t.Fatal(err)
			}
			for _, e := range c.Exchanges {
				var small bytes.Buffer
				if json.Compact(&small, e.Request) == nil && bytes.Contains(small.Bytes(), []byte(`"`+member+`":`)) {
					found = append(found, small.Bytes())
				}
			}
		}
		return found
	}
}

func fakeStream(api fakeopenai.API, dialect, scenario string) ([]byte, int) {
	return fakeopenai.Stream(api, dialect, scenario), 200
}

func fakes(what func(api fakeopenai.API, dialect, scenario string) ([]byte, int), api fakeopenai.API) func(t *testing.T) [][]byte {
	return func(*testing.T) (found [][]byte) {
		for _, dialect := range fakeopenai.Dialects() {
			for _, scenario := range fakeopenai.Scenarios() {
				if b, _ := what(api, dialect, scenario); len(b) > 0 {
					found = append(found, b)
				}
			}
		}
		return found
	}
}

func errorBodies(*testing.T) (found [][]byte) {
	for _, dialect := range fakeopenai.Dialects() {
		for _, scenario := range fakeopenai.Scenarios() {
			if b, status := fakeopenai.Answer(fakeopenai.Chat, dialect, scenario); status >= 400 {
				found = append(found, b)
			}
		}
	}
	return found
}

// directives are the chat2response blocks of the fixtures of adapting.
func directives(t *testing.T) (found [][]byte) {
	for _, b := range files("testdata/adapt/*.caddyfiletest")(t) {
		text, _, _ := strings.Cut(string(b), "\n----------")
		if i := strings.Index(text, "\tchat2response"); i >= 0 {
			found = append(found, []byte(strings.TrimSuffix(strings.TrimSpace(text[i:]), "\n}")))
		}
	}
	return found
}

var names = convert.DialectNames()

func readRequest(t *testing.T, client convert.API) func([]byte) bool {
	turn := 0
	return func(b []byte) bool {
		req, err := convert.Read(client, b)
		if err == nil {
			to := convert.Chat
			if turn++; turn%2 == 0 {
				to = convert.Responses
			}
			_, err = req.To(to, convert.Options{Dialect: convert.Dialects[names[turn%len(names)]], Strict: turn%16 == 0})
		}
		if e := (*convert.Error)(nil); err != nil && (!errors.As(err, &e) || e.Status > 499) {
			t.Fatalf("%T: %v", err, err)
		}
		return err == nil
	}
}

// turns are two requests, of a Chat and of a Responses client, at an upstream.
func turns(t *testing.T, upstream convert.API) (reqs []*convert.Request, turns []*convert.Turn) {
	for api, body := range map[convert.API]string{
		convert.Chat:      `{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true,"stream_options":{"include_usage":true},"stop":["el"]}`,
		convert.Responses: `{"model":"m","input":"x","stream":true,"tools":[{"type":"function","name":"get_weather","parameters":{}},{"type":"custom","name":"apply_patch"},{"type":"tool_search","execution":"client"},{"type":"shell"}]}`,
	} {
		req, err := convert.Read(api, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		turn, err := req.To(upstream, convert.Options{})
		if err != nil {
			t.Fatal(err)
		}
		reqs, turns = append(reqs, req), append(turns, turn)
	}
	return reqs, turns
}

func readAnswer(t *testing.T, upstream convert.API) func([]byte) bool {
	reqs, turns := turns(t, upstream)
	n := 0
	return func(b []byte) bool {
		n++
		resp, err := turns[n%2].Answer(b)
		if err == nil {
			_, err = reqs[n%2].Write(resp)
		}
		if e := (*convert.Error)(nil); err != nil && !errors.As(err, &e) {
			t.Fatalf("%T: %v", err, err)
		}
		return err == nil
	}
}

func readStream(t *testing.T, upstream convert.API) func([]byte) bool {
	reqs, turns := turns(t, upstream)
	n := 0
	return func(b []byte) bool {
		n++
		out := sse.NewWriter(io.Discard, nil)
		write := reqs[n%2].Writer(out)
		ends, good := 0, false
		reader := turns[n%2].Reader(func(e *responses.Event) error {
			switch e.Type {
			case "response.completed", "response.incomplete", "response.failed":
				ends++
				good = e.Type != "response.failed"
			}
			return write(e)
		}, nil)
		var p sse.Parser
		if err := errors.Join(reader.Start(), p.Feed(b, reader.Event), p.Close(reader.Event), reader.Close(nil), out.Send()); err != nil {
			t.Fatal(err)
		}
		if ends != 1 {
			t.Fatalf("%d ends", ends)
		}
		return good
	}
}

var (
	goodID     = strings.Repeat("0123456789abcdef", 2)
	goodToken  = "sk_" + goodID + "." + strings.Repeat("0123456789abcdef", 4)
	goodRecord = `{"id":"` + goodID + `","label":null,"created_at":1,"expires_at":null,"revoked_at":null,"salt_hex":"000102030405060708090a0b0c0d0e0f","hash_hex":"` +
		hex.EncodeToString(make([]byte, 32)) + `","scopes":["a"],"models":["m*"],"x":{"b":1}}`
)

func emptyKeys(t *testing.T) (*keystore.Keys, store.Store) {
	s, err := (&store.Memory{Name: t.Name(), MaxBytes: 1 << 20}).Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	k, err := keystore.New(s, keystore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return k, s
}

func readToken(t *testing.T) func([]byte) bool {
	k, _ := emptyKeys(t)
	return func(b []byte) bool {
		if _, err := k.Verify(t.Context(), string(b)); !errors.Is(err, keystore.ErrInvalidKey) {
			t.Fatalf("no key is right, but: %v", err)
		}
		return len(b) == len(goodToken)
	}
}

func readRecord(t *testing.T) func([]byte) bool {
	k, s := emptyKeys(t)
	var old []byte
	return func(b []byte) bool {
		record := append(slices.Clone(b), ' ') // a store keeps no empty value
		if err := s.Swap(t.Context(), store.Change{Space: keystore.Space, ID: goodID, Old: old, New: record, Score: 1}); err != nil {
			t.Fatal(err)
		}
		old = record
		_, err := k.Verify(t.Context(), goodToken)
		if err == nil {
			t.Fatal("let in")
		}
		return errors.Is(err, keystore.ErrInvalidKey)
	}
}
