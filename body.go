package chat2response

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/labiium/chat2response/convert"
)

// bodies are the bytes of all request bodies that are being read, or wait for their
// upstream's answer.
var bodies atomic.Int64

// reservation is what one request has of them.
type reservation struct {
	size int64
	most int64 // of all together
}

// grow takes memory of so many bytes in all. A request that is alone may have as
// much as it wants.
func (v *reservation) grow(size int64) error {
	more := size - v.size
	if all := bodies.Add(more); all > v.most && all != size {
		bodies.Add(-more)
		return errBusy
	}
	v.size = size
	return nil
}

// free gives it back; what is given back already is not given twice.
func (v *reservation) free() {
	if v != nil {
		bodies.Add(-v.size)
		v.size = 0
	}
}

var errBusy = &convert.Error{
	Status: http.StatusServiceUnavailable, Type: "server_error", Code: "overloaded",
	Message: "The gateway has too many large requests at once (max_bodies). Try again in a second.",
}

// readBody reads the client's request body. It counts among the bodies until the
// upstream begins to answer, or the exchange ends.
func (x *exchange) readBody() ([]byte, error) {
	x.reserved = &reservation{most: x.h.MaxBodies}
	x.leaves = append(x.leaves, x.reserved.free)
	body, err := readBody(x.r, x.h.MaxBody, x.reserved.grow)
	if errors.Is(err, errBusy) {
		x.outcome = "overloaded"
		x.w.Header().Set("Retry-After", "1")
	}
	return body, err
}

// readBody reads the client's request body, decompressed. max is its limit in
// bytes after decompression. grow is told how much memory it takes in all, and may
// refuse.
func readBody(r *http.Request, max int64, grow func(int64) error) ([]byte, error) {
	if err := checkMediaType(r.Header.Get("Content-Type")); err != nil {
		return nil, err
	}
	var in io.Reader = r.Body
	switch encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding"))); encoding {
	case "", "identity":
		if r.ContentLength > max {
			return nil, tooLarge(max)
		}
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, notDecoded("gzip", err)
		}
		in = z
	case "zstd":
		// A frame may ask for a window of any size; 8 MiB is what RFC 9659 allows.
		z, err := zstd.NewReader(r.Body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, notDecoded("zstd", err)
		}
		defer z.Close()
		in = z
	case "br":
		in = brotli.NewReader(r.Body)
	default:
		return nil, &convert.Error{
			Status: http.StatusUnsupportedMediaType, Type: "invalid_request_error", Code: "unsupported_content_encoding",
			Message: fmt.Sprintf("Unsupported Content-Encoding %q. Send gzip, zstd, br, or no encoding.", encoding),
		}
	}
	body, err := readAll(in, r.ContentLength, max, grow)
	var over *http.MaxBytesError
	switch {
	case err == nil:
		return body, nil
	case errors.Is(err, errBusy):
		return nil, err
	case errors.As(err, &over): // Caddy's request_body directive
		return nil, tooLarge(over.Limit)
	case in != io.Reader(r.Body) && r.Context().Err() == nil && !errors.Is(err, errTooLarge):
		return nil, notDecoded(r.Header.Get("Content-Encoding"), err)
	case errors.Is(err, errTooLarge):
		return nil, tooLarge(max)
	}
	return nil, &convert.Error{
		Status: http.StatusBadRequest, Type: "invalid_request_error", Code: "incomplete_body",
		Message: "The request body could not be read to its end.",
	}
}

var errTooLarge = errors.New("body too large")

// firstRead is how much room is made for a body before any of it has come.
const firstRead = 1 << 20

// readAll reads at most max bytes. length is the announced one, or -1. What is
// announced need not come: behind the first mebibyte there is room for no more than
// sixteen times of what has come.
func readAll(in io.Reader, length, max int64, grow func(int64) error) ([]byte, error) {
	size := int64(8 << 10)
	if length > 0 {
		size = min(length+1, firstRead)
	}
	if err := grow(size); err != nil {
		return nil, err
	}
	body := make([]byte, 0, size)
	for {
		if have := int64(len(body)); len(body) == cap(body) {
			size = 2 * have
			if length > have {
				size = min(length+1, 16*have)
			}
			size = min(size, max+1)
			if err := grow(size); err != nil {
				return nil, err
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
