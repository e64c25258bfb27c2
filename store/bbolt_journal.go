package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"go.etcd.io/bbolt"
	"go.uber.org/zap"
)

// journalAge is how long a final change can still be repeated on a restored backup. Older lines are dropped when the
// store is opened: a backup older than this brings back keys revoked before.
const journalAge = 400 * 24 * time.Hour

// journal is the file beside the database (<path>.revoked) that keeps every Final change, one JSON object a line. It
// is not part of a backup, so a restored database can be told what it has not seen.
type journal struct {
	path    string
	storeID string
	file    *os.File
	size    int64         // of the whole lines in file
	last    uint64        // the highest Seq given out, committed or not
	owed    []byte        // lines that found no room on the disk
	lines   []journalLine // of this store, read at opening and dropped after the replay
}

type journalLine struct {
	Store string `json:"store"`
	// Seq counts the final changes of the store; the database keeps the last one it has seen.
	Seq     uint64 `json:"seq"`
	At      int64  `json:"at"` // Unix seconds
	Space   string `json:"space"`
	ID      string `json:"id"`
	Score   int64  `json:"score"`
	Expires int64  `json:"expires"` // Unix ms; 0: never
	Value   []byte `json:"value"`   // base64; null: removed
}

// openJournal reads the journal and leaves it open for appending. A last line that a crash has cut off is dropped:
// its change was not acknowledged. Lines past their age are dropped too.
func openJournal(path, storeID string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("bbolt: journal of revocations: %w", err)
	}
	j := &journal{path: path, storeID: storeID, file: f}
	keep, old, err := j.read()
	if err == nil && old > 0 {
		err = j.rewrite(keep)
	}
	if err == nil {
		j.size = int64(len(keep))
		err = errors.Join(j.file.Truncate(j.size), syncFolder(path))
	}
	if err != nil {
		j.close()
		return nil, fmt.Errorf("bbolt: journal of revocations: %w", err)
	}
	return j, nil
}

// read returns the whole lines that are young enough, and how many are not.
func (j *journal) read() (keep []byte, old int, err error) {
	r := bufio.NewReader(j.file)
	for n := 1; ; n++ {
		text, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return keep, old, nil
		}
		if err != nil {
			return nil, 0, err
		}
		var line journalLine
		if err := json.Unmarshal(text, &line); err != nil {
			return nil, 0, fmt.Errorf("%w: %s line %d: %w. Remove the line if the revocation in it is known to be in the database", ErrCorrupt, j.path, n, err)
		}
		if time.Since(time.Unix(line.At, 0)) > journalAge {
			old++
			continue
		}
		keep = append(keep, text...)
		if line.Store == j.storeID {
			j.lines = append(j.lines, line)
			j.last = max(j.last, line.Seq)
		}
	}
}

// rewrite puts a journal without its old lines in the place of the present one.
func (j *journal) rewrite(keep []byte) error {
	temporary := j.path + ".new"
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(keep)
	if err := errors.Join(err, f.Sync()); err != nil {
		return errors.Join(err, f.Close())
	}
	_ = j.file.Close()
	j.file = f
	return os.Rename(temporary, j.path)
}

// append writes the changes and their count, to disk, inside the transaction that makes them. If the transaction
// fails afterwards its numbers stay used, so that no two lines have one number.
func (j *journal) append(meta *bbolt.Bucket, changes []*Change) error {
	seq := max(sequence(meta), j.last)
	var text bytes.Buffer
	text.Write(j.owed)
	for _, c := range changes {
		seq++
		line := journalLine{j.storeID, seq, time.Now().Unix(), c.Space, c.ID, c.Score, millis(c.Expires), c.New}
		if err := json.MarshalWrite(&text, line); err != nil {
			return err
		}
		text.WriteByte('\n')
	}
	_, err := j.file.WriteAt(text.Bytes(), j.size) // over what a failed attempt has left
	if err == nil {
		err = j.file.Sync()
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		// The database may have room within itself. That the change is made matters more than that it would survive a
		// restored backup; the line is written with the next.
		log("bbolt").Error("the disk is full: a revocation is in the database, but not in the journal beside it yet, so a backup that is put back would undo it",
			zap.String("path", j.path), zap.Error(err))
		j.owed = text.Bytes()
		j.last = seq
		return errors.Join(j.file.Truncate(j.size), meta.Put(finalsKey, binary.BigEndian.AppendUint64(nil, seq)))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("journal of revocations: %w", err), j.file.Truncate(j.size))
	}
	j.owed = nil
	j.size += int64(text.Len())
	j.last = seq
	return meta.Put(finalsKey, binary.BigEndian.AppendUint64(nil, seq))
}

func sequence(meta *bbolt.Bucket) uint64 {
	if b := meta.Get(finalsKey); len(b) == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// replay makes the final changes that the database has not seen: all of them after a crash between journal and
// commit, and after a backup was put back.
func (b *boltDB) replay() error {
	lines := b.journal.lines
	b.journal.lines = nil
	var repeated int
	apply := func(db *buckets) error {
		seen := sequence(db.meta)
		for _, l := range lines {
			if l.Seq <= seen {
				continue
			}
			repeated++
			var err error
			if l.Value == nil {
				err = db.remove(l.Space, l.ID)
			} else {
				err = db.put(l.Space, Position{l.Score, l.ID}, l.Expires, l.Value)
			}
			if err == nil {
				err = db.meta.Put(finalsKey, binary.BigEndian.AppendUint64(nil, l.Seq))
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	if len(lines) == 0 {
		return nil
	}
	err := b.update(context.Background(), &write{apply: apply})
	if err == nil && repeated > 0 {
		log("bbolt").Warn("revocations that the database did not have were made again; was a backup restored?",
			zap.String("path", b.path), zap.Int("revocations", repeated))
	}
	return err
}

func (j *journal) close() {
	if j != nil && j.file != nil {
		_ = j.file.Close()
	}
}
