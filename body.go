package chat2response

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/internal/account"
)

// readBody reads the client's request body. It counts among what all requests hold until the upstream begins to answer,
// or the exchange ends.
func (x *exchange) readBody() ([]byte, error) {
	if x.body == nil {
		x.body = x.claim()
	}
	// What a web page sends without a type is sent without asking the site, see https://fetch.spec.whatwg.org/#cors-protocol.
	if x.r.Header.Get("Content-Type") == "" && isForeign(x.r) {
		return nil, checkMediaType("none")
	}
	defer x.hurry()()
	body, err := readBody(x.r, x.h.MaxBody, x.decoding(), x.body)
	x.busy(err)
	return body, err
}

// How long a body may take to come: so long, and as long as it needs at so many bytes in a second. A server with a
// read_body time-out of its own keeps that.
const (
	bodyPatience = time.Minute
	bodyRate     = 16 << 10
)

// hurry sets a deadline for the body. What it returns ends it.
func (x *exchange) hurry() (end func()) {
	server, ok := x.r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok || server.ReadTimeout > 0 {
		return func() {}
	}
	size := x.r.ContentLength
	if size < 0 || size > x.h.MaxBody {
		size = x.h.MaxBody
	}
	control := http.NewResponseController(x.w)
	_ = control.SetReadDeadline(time.Now().Add(bodyPatience + time.Duration(size/bodyRate)*time.Second))
	return func() { _ = control.SetReadDeadline(time.Time{}) }
}

// decoders are how many bodies are decompressed at one time, for all clients with a key and for all others: it is work
// for a processor, and a decoder has a window of up to 16 MiB.
var decoders = struct{ known, strangers chan struct{} }{
	make(chan struct{}, runtime.GOMAXPROCS(0)), make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
}

func (x *exchange) decoding() chan struct{} {
	if x.memoryOwner().Stranger {
		return decoders.strangers
	}
	return decoders.known
}

// readBody reads the client's request body, decompressed. max is its limit in bytes after decompression, and before.
// decoding bounds how many are decompressed at once.
//
// What is compressed is decompressed when all of it has come: a decoder that waits for more would keep its window.
func readBody(r *http.Request, max int64, decoding chan struct{}, claim *account.Claim) ([]byte, error) {
	if err := checkMediaType(r.Header.Get("Content-Type")); err != nil {
		return nil, err
	}
	encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding")))
	if encoding == "identity" {
		encoding = ""
	}
	if encoding != "" && !slices.Contains(encodings, encoding) {
		return nil, &convert.Error{
			Status: http.StatusUnsupportedMediaType, Type: "invalid_request_error", Code: "unsupported_content_encoding",
			Message: fmt.Sprintf("Unsupported Content-Encoding %q. Send gzip, zstd, br, or no encoding.", encoding),
		}
	}
	if r.ContentLength > max {
		return nil, tooLarge(max)
	}
	body, err := readAll(r.Body, r.ContentLength, max, claim)
	var over *http.MaxBytesError
	switch {
	case err == nil && encoding == "":
		return body, nil
	case err == nil:
		return decodeBody(r.Context(), encoding, body, max, decoding, claim)
	case errors.Is(err, errBusy):
		return nil, err
	case errors.As(err, &over): // Caddy's request_body directive
		return nil, tooLarge(over.Limit)
	case errors.Is(err, errTooLarge):
		return nil, tooLarge(max)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &convert.Error{
			Status: http.StatusRequestTimeout, Type: "invalid_request_error", Code: "request_timeout",
			Message: "The request body did not come in time.",
		}
	}
	return nil, &convert.Error{
		Status: http.StatusBadRequest, Type: "invalid_request_error", Code: "incomplete_body",
		Message: "The request body could not be read to its end.",
	}
}

// encodings are the codings of a body that can be decoded (RFC 9110, 8.4.1; RFC 8878; RFC 7932).
var encodings = []string{"gzip", "x-gzip", "zstd", "br"}

// decodeBody decompresses a body that has come whole.
func decodeBody(ctx context.Context, encoding string, packed []byte, max int64, decoding chan struct{}, claim *account.Claim) ([]byte, error) {
	select {
	case decoding <- struct{}{}:
		defer func() { <-decoding }()
	case <-ctx.Done():
		return nil, upstreamError(ctx.Err())
	}
	in, end, err := decoder(encoding, bytes.NewReader(packed))
	if err != nil {
		return nil, notDecoded(encoding, err)
	}
	defer end()
	body, err := readAll(in, -1, max, claim)
	switch {
	case errors.Is(err, errBusy):
		return nil, err
	case errors.Is(err, errTooLarge):
		return nil, tooLarge(max)
	case err != nil:
		return nil, notDecoded(encoding, err)
	}
	claim.Shrink(int64(cap(packed)))
	return body, nil
}

// decoder decompresses what is one of encodings. end must be called when it is not used any more.
func decoder(encoding string, in io.Reader) (out io.Reader, end func(), err error) {
	switch encoding {
	case "zstd":
		// A frame may ask for a window of any size; 8 MiB is what RFC 9659 allows.
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	case "br":
		return brotli.NewReader(in), func() {}, nil
	}
	z, err := gzip.NewReader(in)
	return z, func() {}, err
}

var errTooLarge = errors.New("body too large")

// firstRead is how much room is made for a body before any of it has come.
const firstRead = 4 << 10

// readAll reads at most max bytes. length is the announced one, or -1. What is announced need not come: there is room for
// no more than four times of what has come.
func readAll(in io.Reader, length, max int64, claim *account.Claim) ([]byte, error) {
	var body []byte
	for {
		if have := int64(len(body)); len(body) == cap(body) {
			size := min(4*have, have+16<<20)
			if have == 0 {
				size = firstRead
			}
			if length >= have {
				size = min(size, length+1)
			}
			size = min(size, max+1)
			if claim.Grow(size-have) != nil {
				return nil, errBusy
			}
			body = append(make([]byte, 0, size), body...)
		}
		n, err := in.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if int64(len(body)) > max {
			return nil, errTooLarge
		}
		if err == io.EOF {
			return body, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func tooLarge(max int64) *convert.Error {
	return &convert.Error{
		Status: http.StatusRequestEntityTooLarge, Type: "invalid_request_error", Code: "request_too_large",
		Message: fmt.Sprintf("The request body is larger than %d bytes, the limit of this gateway (max_body).", max),
	}
}

func notDecoded(encoding string, err error) *convert.Error {
	return &convert.Error{
		Status: http.StatusBadRequest, Type: "invalid_request_error", Code: "invalid_body",
		Message: fmt.Sprintf("The request body is not valid %s: %v.", encoding, err),
	}
}

// checkMediaType takes JSON, and a missing type for JSON.
func checkMediaType(header string) error {
	if header == "" {
		return nil
	}
	media, _, err := mime.ParseMediaType(header)
	if err == nil && (media == "application/json" || strings.HasSuffix(media, "+json")) {
		return nil
	}
	return &convert.Error{
		Status: http.StatusUnsupportedMediaType, Type: "invalid_request_error", Code: "unsupported_content_type",
		Message: fmt.Sprintf("Unsupported Content-Type %q. Send application/json.", header),
	}
}
