// Package doctor finds out what an upstream is: which of OpenAI's two APIs it
// speaks, what of them works, and which dialect fits. It asks through package
// convert, so what it calls working is what works behind the gateway.
package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/internal/dropin"
	"github.com/labiium/chat2response/sse"
)

// Options say what is examined.
type Options struct {
	// URL is where the upstream's API is. If it has no path, /v1 is tried first.
	URL string
	// Key is sent as Authorization: Bearer, if there is one, to the scheme, host and
	// port of URL alone: not to where a redirect leads.
	Key string
	// KeyName is the variable that holds Key, for the report. Default: OPENAI_API_KEY.
	KeyName string
	// Model is the model that is asked. Default: the first that the upstream lists
	// and that is not one for embeddings, sounds or pictures.
	Model string
	// Patience is how long one question may take. Default: two minutes.
	Patience time.Duration
	// Progress is told what is being asked. Default: nobody.
	Progress io.Writer
}

// defaultKeyName is the variable that everybody has set for OpenAI.
const defaultKeyName = "OPENAI_API_KEY"

// maxAnswer bounds what is read of one answer, in bytes.
const maxAnswer = 16 << 20

// Report is what was found.
type Report struct {
	URL     string   // with /v1 if the API is there and the path was missing
	Models  []string // in the upstream's order
	Model   string   // that was asked
	Keyed   bool     // a key was sent
	KeyName string   // the variable that holds it, or that should
	Dialect string
	Why     []string // what speaks for the dialect
	Results []Result // by API, then in the order of the probes
	Mode    convert.API
	Broken  string // why it cannot be used; empty if it can
}

// Result is the outcome of one probe.
type Result struct {
	API   convert.API
	Probe string
	OK    bool
	Note  string // why not, or a remark
}

// errAbsent: the upstream does not have this API.
var errAbsent = errors.New("not there")

// errKey: the upstream wants another key.
var errKey = errors.New("the upstream refuses the key")

type doctor struct {
	Options
	client *http.Client
	signs  signs
}

// Examine asks the upstream. What it finds wrong is in the report; an error says
// that there was nothing to examine: a bad URL, or ctx has ended.
func Examine(ctx context.Context, o Options) (*Report, error) {
	if o.Patience == 0 {
		o.Patience = 2 * time.Minute
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.KeyName == "" {
		o.KeyName = defaultKeyName
	}
	u, err := url.Parse(o.URL)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return nil, fmt.Errorf("%q is no address of an upstream: write a URL such as http://localhost:8000/v1", dropin.Shown(o.URL))
	case u.User != nil, u.RawQuery != "", u.Fragment != "": // the gateway would not take it either
		return nil, fmt.Errorf("%q: write a URL without user, query and fragment", dropin.Shown(o.URL))
	}
	o.URL = strings.TrimRight(o.URL, "/")
	d := &doctor{Options: o, client: &http.Client{
		Transport: http.DefaultTransport.(*http.Transport).Clone(), CheckRedirect: redirect,
	}, signs: signs{}}
	defer d.client.CloseIdleConnections()
	r := &Report{Keyed: o.Key != "", KeyName: o.KeyName}
	d.signs.host(u.Hostname())
	bare := strings.Trim(u.Path, "/") == ""
	if bare {
		d.URL += "/v1"
	}
	if r.Models, err = d.models(ctx); bare && err != nil && !errors.Is(err, errKey) {
		d.URL = o.URL
		if models, again := d.models(ctx); again == nil {
			r.Models, err = models, nil
		} else {
			d.URL += "/v1"
		}
	}
	if r.URL = d.URL; r.URL == o.URL && bare {
		r.URL += "/" // without it, a Caddyfile would mean /v1
	}
	if errors.Is(err, errKey) {
		r.Broken = "it asks for a key (401): give it one with --key-env " + o.KeyName
		if r.Keyed {
			r.Broken = "it refuses the key (401): set " + o.KeyName + " to one that it takes"
		}
		return r, ctx.Err()
	}
	if r.Model = o.Model; r.Model == "" {
		r.Model = pick(r.Models)
	}
	if r.Model == "" {
		r.Broken = "it lists no models"
		if err != nil {
			r.Broken += " (" + err.Error() + ")"
		}
		r.Broken += "; name one with --model if there is one all the same"
		return r, ctx.Err()
	}
	d.native(ctx, u)

	for _, api := range []convert.API{convert.Chat, convert.Responses} {
		r.Results = append(r.Results, d.all(ctx, api, r.Model, "generic")...)
	}
	r.Dialect, r.Why = d.signs.verdict()
	if r.Dialect != "generic" {
		d.again(ctx, r)
	}
	r.judge()
	return r, ctx.Err()
}

// maxRedirects is how often an upstream may send the doctor elsewhere.
const maxRedirects = 5

// redirect follows a redirect, without the key where it leads to another scheme, host or port. net/http keeps
// Authorization for subdomains, for other ports, and on the way from https to http.
func redirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("it redirects more than %d times", maxRedirects)
	}
	if !SameOrigin(req.URL, via[0].URL) {
		req.Header.Del("Authorization")
	}
	return nil
}

// SameOrigin reports whether two URLs have the same scheme, host and port.
func SameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

// port is the port of a URL, that of its scheme if it names none.
func port(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// models lists the models.
func (d *doctor) models(ctx context.Context) ([]string, error) {
	fmt.Fprintf(d.Progress, "asking %s/models\n", d.URL)
	resp, body, err := d.send(ctx, http.MethodGet, d.URL+"/models", nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		return nil, errKey
	}
	var list struct {
		Data []struct {
			ID      string `json:"id"`
			OwnedBy string `json:"owned_by"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &list); err != nil || resp.StatusCode != http.StatusOK || list.Data == nil {
		return nil, fmt.Errorf("GET %s/models is answered %d, with no list of models", d.URL, resp.StatusCode)
	}
	d.signs.header(resp.Header)
	var names []string
	for _, m := range list.Data {
		names = append(names, m.ID)
		d.signs.owner(m.OwnedBy)
	}
	return names, nil
}

// pick is the first model that is likely to write text.
func pick(models []string) string {
	for _, m := range models {
		lower := strings.ToLower(m)
		if !slices.ContainsFunc([]string{"embed", "whisper", "tts", "dall-e", "image", "moderation", "rerank", "audio", "realtime", "transcribe", "sora", "bge-", "davinci", "babbage"},
			func(s string) bool { return strings.Contains(lower, s) }) {
			return m
		}
	}
	return ""
}

// native asks for what servers have besides OpenAI's API.
func (d *doctor) native(ctx context.Context, u *url.URL) {
	root := u.Scheme + "://" + u.Host
	for _, n := range natives {
		resp, body, err := d.send(ctx, http.MethodGet, root+n.path, nil)
		if err == nil && resp.StatusCode == http.StatusOK {
			d.signs.native(n, body)
		}
	}
}

// all asks an API everything, or only once if it is not there.
func (d *doctor) all(ctx context.Context, api convert.API, model, dialect string) []Result {
	var results []Result
	for i, p := range probes {
		if ctx.Err() != nil {
			return results
		}
		note, err := d.probe(ctx, api, p, model, dialect)
		results = append(results, result(api, p.name, note, err))
		if i == 0 && errors.Is(err, errAbsent) {
			break
		}
	}
	return results
}

func result(api convert.API, name, note string, err error) Result {
	r := Result{API: api, Probe: name, OK: err == nil, Note: note}
	if err != nil {
		r.Note = err.Error()
	}
	return r
}

// again repeats, in the dialect that has been found, what did not work.
func (d *doctor) again(ctx context.Context, r *Report) {
	for i, old := range r.Results {
		if old.OK || old.Note == errAbsent.Error() || ctx.Err() != nil {
			continue
		}
		at := slices.IndexFunc(probes, func(p probe) bool { return p.name == old.Probe })
		note, err := d.probe(ctx, old.API, probes[at], r.Model, r.Dialect)
		r.Results[i] = result(old.API, old.Probe, note, err)
	}
}

// probe asks one question. The note is a remark on a success.
func (d *doctor) probe(ctx context.Context, api convert.API, p probe, model, dialect string) (note string, err error) {
	fmt.Fprintf(d.Progress, "asking %s: %s\n", names[api], p.name)
	quoted, err := json.Marshal(model)
	if err != nil {
		return "", err
	}
	body := fmt.Appendf(nil, `{"model":%s,"store":false,%s}`, quoted, p.members())
	req, err := convert.Read(convert.Responses, body)
	if err != nil {
		return "", err
	}
	turn, err := req.To(api, convert.Options{Dialect: convert.Dialects[dialect]})
	if err != nil {
		return "", err
	}
	resp, answer, err := d.send(ctx, http.MethodPost, d.URL+paths[api], turn.Body)
	if err != nil {
		return "", err
	}
	d.signs.header(resp.Header)
	if resp.StatusCode >= 300 {
		return "", refusal(turn, resp.StatusCode, answer)
	}
	if api == convert.Chat {
		d.signs.answer(answer, model)
	}
	var got *responses.Response
	if p.stream {
		got, err = readStream(turn, resp.Header, answer)
	} else {
		got, err = turn.Answer(answer)
	}
	if err != nil {
		return "", plain(err)
	}
	return p.check(got)
}

// refusal says why the upstream did not answer.
func refusal(turn *convert.Turn, status int, body []byte) error {
	_, err := turn.Answer(body)
	var e *convert.Error
	said := ""
	if errors.As(err, &e) && e.Code != "bad_upstream_answer" {
		said = ": " + e.Message
	}
	switch {
	case status == http.StatusUnauthorized:
		return fmt.Errorf("%w (401)%s", errKey, said)
	case status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented,
		status == http.StatusNotFound && !strings.Contains(strings.ToLower(said), "model"):
		return errAbsent
	}
	return fmt.Errorf("refused with %d%s", status, said)
}

// plain is an error without what is only for clients of the gateway.
func plain(err error) error {
	var e *convert.Error
	if errors.As(err, &e) {
		return errors.New(e.Message)
	}
	return err
}

// readStream reads a whole stream as the gateway does.
func readStream(turn *convert.Turn, header http.Header, body []byte) (*responses.Response, error) {
	if !strings.HasPrefix(header.Get("Content-Type"), "text/event-stream") {
		return nil, fmt.Errorf("it does not stream: the answer's Content-Type is %q", header.Get("Content-Type"))
	}
	var last *responses.Event
	reader := turn.Reader(func(e *responses.Event) error {
		if responses.Terminal(e.Type) {
			last = e
		}
		return nil
	}, nil)
	if err := reader.Start(); err != nil {
		return nil, err
	}
	var parser sse.Parser
	err := parser.Feed(body, reader.Event)
	if err == nil {
		err = parser.Close(reader.Event)
	}
	if err == nil {
		err = reader.Close(nil)
	}
	switch {
	case err != nil:
		return nil, err
	case last == nil || last.Response == nil:
		return nil, errors.New("the stream does not end")
	case last.Response.Status == responses.Failed && last.Response.Error != nil:
		return nil, errors.New(last.Response.Error.Message)
	}
	return last.Response, nil
}

// send sends a request and reads the answer. An answer that breaks off is an error.
func (d *doctor) send(ctx context.Context, method, address string, body []byte) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, d.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if d.Key != "" {
		req.Header.Set("Authorization", "Bearer "+d.Key)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, nil, reason(err, d.Patience)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, nil, fmt.Errorf("the answer breaks off: %w", reason(err, d.Patience))
	}
	return resp, answer, nil
}

// reason is a transport's error without the URL, which stands above it.
func reason(err error, patience time.Duration) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", patience)
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
