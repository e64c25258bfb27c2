package mcpbridge

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// maxLine is the longest message in bytes that a server may send. Without a limit one line without an end would take
// all memory there is.
const maxLine = 8 << 20

var errLineTooLong = errors.New("sent a line of more than 8 MiB")

// lines reads text line by line.
type lines struct {
	r   *bufio.Reader
	max int
	// whole: a line above max is an error. Otherwise it is cut and the rest of it skipped.
	whole bool
}

func newLines(r io.Reader, max int, whole bool) *lines {
	return &lines{r: bufio.NewReaderSize(r, min(max+1, 64<<10)), max: max, whole: whole}
}

// next returns the next line without its end. It is valid until the call after. A last line without an end counts. At
// the end of the text the error is io.EOF.
func (l *lines) next() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	if err == nil && len(line) <= l.max+1 {
		return trimEnd(line), nil
	}
	if err == io.EOF && len(line) > 0 && len(line) <= l.max {
		return trimEnd(line), nil
	}
	if err != nil && err != bufio.ErrBufferFull && len(line) == 0 {
		return nil, err
	}
	long := bytes.Clone(line)
	for {
		if len(trimEnd(long)) > l.max {
			if l.whole {
				return nil, errLineTooLong
			}
			long = long[:l.max]
		}
		if err != bufio.ErrBufferFull {
			break // the line is over, or the text is
		}
		line, err = l.r.ReadSlice('\n')
		if len(long) < l.max || l.whole {
			long = append(long, line...)
		}
	}
	return trimEnd(long), nil
}

// trimEnd removes one line end: a line of carriage returns is a line.
func trimEnd(b []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
}
