package mcpbridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"sync"

	"github.com/labiium/chat2response/sse"
)

// events carries messages over the transport of MCP 2024-11-05, basic/transports, "HTTP with SSE": a stream of events
// brings the server's messages, the first event names where ours are posted.
type events struct {
	web    *webClient
	url    *url.URL
	ctx    context.Context // the stream's life
	cancel context.CancelFunc

	ready    chan struct{} // closed when endpoint is known
	once     sync.Once
	endpoint *url.URL

	failed chan struct{} // closed when the stream could not be opened
	err    error         // why
}

func newEvents(web *webClient, address string) (*events, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &events{web: web, url: u, ctx: ctx, cancel: cancel, ready: make(chan struct{}), failed: make(chan struct{})}, nil
}

func (e *events) send(ctx context.Context, message []byte) error {
	select {
	case <-e.ready:
	case <-e.failed:
		return fmt.Errorf("%w: %w", errNotSent, e.err)
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errNotSent, ctx.Err())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.endpoint.String(), bytes.NewReader(message))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := e.web.Do(r)
	if err != nil {
		if unsent(err) {
			return fmt.Errorf("%w: %w", errNotSent, withoutURL(err))
		}
		return fmt.Errorf("%w: %w", errGone, withoutURL(err))
	}
	defer res.Body.Close()
	// The answer comes on the stream; this body says "Accepted" at most.
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	if res.StatusCode/100 != 2 {
		return &HTTPError{res.StatusCode}
	}
	return nil
}

func (e *events) receive(deliver func([]byte) bool) error {
	err := e.read(deliver)
	e.once.Do(func() {
		e.err = err
		close(e.failed)
	})
	return err
}

func (e *events) read(deliver func([]byte) bool) error {
	r, err := http.NewRequestWithContext(e.ctx, http.MethodGet, e.url.String(), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Cache-Control", "no-cache")
	res, err := e.web.Do(r)
	if err != nil {
		return withoutURL(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return &HTTPError{res.StatusCode}
	}
	if media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); media != "text/event-stream" {
		return fmt.Errorf("answered with %q, not with a stream of events", media)
	}
	parser := sse.Parser{MaxEvent: maxBody}
	buffer := make([]byte, 32<<10)
	for {
		n, err := res.Body.Read(buffer)
		if failed := parser.Feed(buffer[:n], func(ev sse.Event) error { return e.take(ev, deliver) }); failed != nil {
			return failed
		}
		if err == io.EOF {
			return errors.New("ended its stream of events")
		}
		if err != nil {
			return err
		}
	}
}

func (e *events) take(ev sse.Event, deliver func([]byte) bool) error {
	if string(ev.Type) != "endpoint" {
		deliver(ev.Data)
		return nil
	}
	if len(ev.Data) > maxEndpoint {
		return fmt.Errorf("wants its messages posted to an address of %d bytes", len(ev.Data))
	}
	to, err := e.url.Parse(string(ev.Data))
	if err != nil || to.Scheme != e.url.Scheme || to.Host != e.url.Host {
		// Our headers, a token perhaps, would go to a host that the operator has not named.
		return errors.New("wants its messages posted to another host")
	}
	e.once.Do(func() {
		e.endpoint = to
		close(e.ready)
	})
	return nil
}

func (e *events) close() {
	e.cancel()
	e.web.close()
}
