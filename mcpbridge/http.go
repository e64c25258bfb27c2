package mcpbridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
)

// maxBody is the most bytes of one answer, or of one event of a stream, that a server may send.
const maxBody = maxLine

var errBodyTooLarge = errors.New("the answer is larger than the limit")

// webClient is an HTTP client for one server: its headers on every request (mcp-go 1.2.1 leaves them off the closing
// DELETE), no redirects (they would carry the headers to another host), bounded answers, and a note of the last status
// (mcp-go reports every 4xx on initialize as the same error).
type webClient struct {
	http.Client
	base *http.Transport
}

func newWebClient(s *ServerConfig, d *dialer) *webClient {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.MaxIdleConnsPerHost = s.parallel()
	base.MaxResponseHeaderBytes = maxHeaderBytes
	if d.tls != nil {
		base.TLSClientConfig = d.tls
	}
	if d.guard != nil {
		base.DialContext, base.Proxy = d.guard, nil // a proxy would connect for us, unchecked
	}
	headers := make(http.Header, len(s.Headers))
	for k, v := range s.Headers {
		headers.Set(k, v)
	}
	w := &webClient{base: base}
	w.Client = http.Client{
		Transport:     roundTripper{base, headers, d.maxBody},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return w
}

func (w *webClient) close() { w.base.CloseIdleConnections() }

// note is where one call finds what mcp-go does not hand through. It travels in the context.
type note struct {
	status atomic.Int32 // of the last HTTP response
	tapped              // what the tap saw; set by the goroutine that called
}

type noteKey struct{}

func noteOf(ctx context.Context) *note {
	n, _ := ctx.Value(noteKey{}).(*note)
	return n
}

type roundTripper struct {
	base    *http.Transport
	headers http.Header
	limit   int64
}

func (t roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	n := noteOf(r.Context())
	r = r.Clone(r.Context())
	for k, v := range t.headers {
		r.Header[k] = v
	}
	if host := t.headers.Get("Host"); host != "" {
		r.Host = host
	}
	res, err := t.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if n != nil {
		n.status.Store(int32(res.StatusCode))
	}
	if res.ContentLength > t.limit {
		res.Body.Close()
		return nil, fmt.Errorf("%w: %d bytes of at most %d", errBodyTooLarge, res.ContentLength, t.limit)
	}
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	res.Body = &bounded{ReadCloser: res.Body, left: t.limit, limit: t.limit, events: media == "text/event-stream"}
	return res, nil
}

// bounded ends a body that is too large. The parts of an event stream are counted one by one: a stream may be long.
type bounded struct {
	io.ReadCloser
	left, limit int64
	events      bool
	begun       bool // something of the current line was read
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, fmt.Errorf("%w of %d bytes", errBodyTooLarge, b.limit)
	}
	n, err := b.ReadCloser.Read(p)
	if b.events {
		b.count(p[:n])
	} else {
		b.left -= int64(n)
	}
	if b.left < 0 {
		return 0, fmt.Errorf("%w of %d bytes", errBodyTooLarge, b.limit)
	}
	return n, err
}

// count counts the bytes of an event. A blank line ends it.
func (b *bounded) count(p []byte) {
	for len(p) > 0 {
		line, rest, ended := bytes.Cut(p, []byte("\n"))
		b.left -= int64(len(p) - len(rest))
		b.begun = b.begun || len(bytes.TrimRight(line, "\r")) > 0
		if !ended {
			return
		}
		if !b.begun {
			b.left = b.limit
		}
		b.begun = false
		p = rest
	}
}

// isRefusal reports whether an HTTP status says "not like this", so that an older or newer protocol may do better.
// Missing rights and too many requests do not.
func isRefusal(status int) bool {
	return status >= 400 && status < 500 && status != http.StatusUnauthorized && status != http.StatusForbidden && status != http.StatusTooManyRequests
}

// withoutURL removes from an error the URL that package net/http puts into it, which can have a key in it.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// unsent reports whether a request failed before any of it left: its connection could not be made.
func unsent(err error) bool {
	var op *net.OpError
	return errors.Is(err, errNotSent) || errors.As(err, &op) && op.Op == "dial"
}
