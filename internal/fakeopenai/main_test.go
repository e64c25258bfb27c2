package fakeopenai

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a fake and closes it with the test.
func serve(t *testing.T, o Options) (*Server, *httptest.Server) {
	t.Helper()
	s := New(o)
	web := httptest.NewServer(s)
	t.Cleanup(func() {
		web.Client().CloseIdleConnections()
		web.Close()
	})
	return s, web
}

// send sends a body straight to the handler.
func send(s *Server, path, body string) (status int, answer string) {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// parse parses a JSON object or fails the test.
func parse(t *testing.T, s string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(s), &m); err != nil {
		t.Fatalf("%v in %s", err, s)
	}
	return m
}

// same compares two JSON texts, whatever the order of their members.
func same(t *testing.T, got, want string) {
	t.Helper()
	if normal(t, got) != normal(t, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func normal(t *testing.T, s string) string {
	t.Helper()
	var v any
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %q", err, s)
	}
	b, _ := json.Marshal(v)
	return string(b)
}

// events are the data lines of an SSE body, [DONE] included.
func events(body []byte) (list []string) {
	for _, line := range bytes.Split(body, []byte("\n")) {
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			list = append(list, string(data))
		}
	}
	return list
}

func post(t *testing.T, url, body string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, b
}

// openAIError is the body of a refusal as OpenAI has it; param and code are JSON.
func openAIError(message, param, code string) string {
	m, _ := json.Marshal(message)
	return `{"error":{"message":` + string(m) + `,"type":"invalid_request_error","param":` + param + `,"code":` + code + `}}`
}
