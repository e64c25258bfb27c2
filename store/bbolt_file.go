package store

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/bbolt"
)

// corrupt is the error of every file that is not as it should be.
func corrupt(path, why string) error {
	return fmt.Errorf("%w: bbolt: %s: %s. The file was left as it is. Restore a backup; or `bbolt check %s` and `bbolt compact -o <new> %s` (go.etcd.io/bbolt/cmd/bbolt) save what is readable, perhaps without the last writes; or move it away to begin with nothing",
		ErrCorrupt, path, why, path, path)
}

// refuseFolder: the original's sled database is a folder, by default of the very name that our file would have.
func refuseFolder(path string) error {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return nil
	}
	sled, _ := filepath.Glob(filepath.Join(path, "snap.*"))
	_, conf := os.Stat(filepath.Join(path, "conf"))
	_, db := os.Stat(filepath.Join(path, "db"))
	if len(sled) > 0 || (conf == nil && db == nil) {
		return fmt.Errorf("bbolt: %s is a sled database of the Rust chat2response, which cannot be read here: name another file (for instance bbolt:%s.bbolt) and mint the keys anew; keys that the original kept in Redis are read as they are",
			path, strings.TrimSuffix(path, ".db"))
	}
	return fmt.Errorf("bbolt: %s is a folder; name a file", path)
}

// createBolt makes a complete empty store under a name of its own and only then gives it the name asked for: a crash
// on the way leaves no half-made file to be taken for a damaged one. If somebody else was faster, theirs is kept.
func createBolt(path string) error {
	temporary := fmt.Sprintf("%s.new-%d-%s", path, os.Getpid(), randomHex(4))
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(temporary)
	if err := f.Close(); err != nil {
		return err
	}
	var opened *os.File
	db, err := bbolt.Open(temporary, 0o600, boltOptions(&opened))
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{metaBucket, dataBucket, orderBucket, expiryBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(metaBucket)
		return errors.Join(
			meta.Put(formatKey, []byte(boltFormat)),
			meta.Put(idKey, []byte(randomHex(16))),
			meta.Put(finalsKey, make([]byte, 8)),
		)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := os.Link(temporary, path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return syncFolder(path)
}

// syncFolder makes a new name in path's folder survive a power cut; the file's own fsync does not.
func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// identity returns the store's id, or an error if the file is a bbolt database of somebody else or of the future.
func identity(path string, tx *bbolt.Tx) (string, error) {
	b := openBuckets(tx)
	if b.meta == nil || b.data == nil || b.order == nil || b.expiry == nil {
		return "", corrupt(path, "a bbolt database, but not one of chat2response (a bucket is missing)")
	}
	if format := string(b.meta.Get(formatKey)); format != boltFormat {
		return "", fmt.Errorf("bbolt: %s has format %q and this version reads %q: use the chat2response that wrote it", path, format, boltFormat)
	}
	return string(b.meta.Get(idKey)), nil
}

// A bbolt file begins with two meta pages; a transaction writes the one that the last did not. In bbolt's own words
// (internal/common/page.go, meta.go): a page has 16 bytes of header, then magic, version, page size, flags (4 bytes
// each), root page and sequence, freelist page, high-water page, transaction, checksum (8 bytes each).
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2
	pageHeader  = 16
	metaSize    = 64
	checkedSize = 56
)

type metaPage struct {
	pageSize  uint32
	highWater uint64
}

func readMeta(b []byte) (m metaPage, err error) {
	order := binary.NativeEndian
	switch sum := fnv.New64a(); {
	case order.Uint32(b) != boltMagic:
		return m, errors.New("not a bbolt page")
	case order.Uint32(b[4:]) != boltVersion:
		return m, fmt.Errorf("bbolt version %d, not %d", order.Uint32(b[4:]), boltVersion)
	default:
		_, _ = sum.Write(b[:checkedSize])
		if order.Uint64(b[checkedSize:]) != sum.Sum64() {
			return m, errors.New("wrong checksum")
		}
	}
	return metaPage{pageSize: order.Uint32(b[8:]), highWater: order.Uint64(b[40:])}, nil
}

// preflight reads what bbolt will rely on, with plain reads, before bbolt maps the file into memory. bbolt takes an
// empty file for a new database, opens the transaction before the last when a meta page is gone, and dies by SIGSEGV
// (not by an error) when the file is shorter than its pages say: bbolt#325, #446, #701, #778 are such files.
func preflight(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return openError(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return corrupt(path, "the file is empty (0 bytes); a store is never empty, so its contents were lost")
	}
	first, err := metaAt(f, 0)
	pageSize := int64(first.pageSize)
	if err != nil {
		pageSize = findPageSize(f)
	}
	if pageSize == 0 {
		return corrupt(path, fmt.Sprintf("neither of the two meta pages is valid (%v); it is not a bbolt file or its head is gone", err))
	}
	second, err2 := metaAt(f, pageSize)
	if err := errors.Join(err, err2); err != nil {
		return corrupt(path, fmt.Sprintf("one of the two meta pages is not valid (%v); without it the last transaction, perhaps a revocation, would be silently undone", err))
	}
	if pages := max(first.highWater, second.highWater); uint64(info.Size())/uint64(pageSize) < pages {
		return corrupt(path, fmt.Sprintf("the file has %d bytes and its pages need %d: it was cut off", info.Size(), pages*uint64(pageSize)))
	}
	return nil
}

func metaAt(f *os.File, offset int64) (metaPage, error) {
	b := make([]byte, metaSize)
	if _, err := f.ReadAt(b, offset+pageHeader); err != nil {
		return metaPage{}, fmt.Errorf("meta page at byte %d: %w", offset, err)
	}
	m, err := readMeta(b)
	if err != nil {
		return m, fmt.Errorf("meta page at byte %d: %w", offset, err)
	}
	return m, nil
}

// findPageSize looks for the second meta page where each possible page size would put it; 0: nowhere.
func findPageSize(f *os.File) int64 {
	for size := int64(1024); size <= 1024<<14; size <<= 1 {
		if m, err := metaAt(f, size); err == nil && int64(m.pageSize) == size {
			return size
		}
	}
	return 0
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, see crypto/rand
	return hex.EncodeToString(b)
}
