package chat2response

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/labiium/chat2response/convert"
)

// readBody reads the client's request body, decompressed. max is its limit in
// bytes after decompression.
func readBody(r *http.Request, max int64) ([]byte, error) {
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
	body, err := readAll(in, r.ContentLength, max)
	var over *http.MaxBytesError
	switch {
	case err == nil:
		return body, nil
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
func readAll(in io.Reader, length, max int64) ([]byte, error) {
	size := int64(8 << 10)
	if length > 0 {
		size = min(length+1, firstRead)
	}
	body := make([]byte, 0, size)
	for {
		if have := int64(len(body)); len(body) == cap(body) {
			size = 2 * have
			if length > have {
				size = min(length+1, 16*have)
			}
			body = append(make([]byte, 0, min(size, max+1)), body...)
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
