package store

import (
	"errors"
	"fmt"
	"os"

	"go.etcd.io/bbolt"
	"go.uber.org/zap"
)

// compactAt is from how much free space on a file is made anew when it is opened, if that is more than half of it.
// Tests lower it.
var compactAt int64 = 64 << 20

// compact makes the open file anew without the space in it that is free: bbolt uses that again, but never gives it back
// to the disk. It reports whether the file under the name is another now. When it fails, the file stays as it was.
func (b *boltDB) compact() (done bool, err error) {
	free := int64(b.db.Stats().FreePageN) * b.pageSize
	info, err := b.file.Stat()
	if err != nil || free < compactAt || free <= info.Size()/2 {
		return false, err
	}
	temporary := fmt.Sprintf("%s.compact-%d-%s", b.path, os.Getpid(), randomHex(4))
	defer os.Remove(temporary)
	if err := b.copyTo(temporary); err != nil {
		return false, err
	}
	// The lock on the old file is held until it has no name any more. Who waits for it will see that, see isAt.
	if err := os.Rename(temporary, b.path); err != nil {
		return false, err
	}
	after, err := os.Stat(b.path)
	if err == nil {
		log("bbolt").Info("the file was compacted", zap.String("path", b.path), zap.Int64("bytes_before", info.Size()), zap.Int64("bytes_now", after.Size()))
	}
	return true, errors.Join(err, syncFolder(b.path))
}

// copyTo writes what is in use to a new file, down to the disk.
func (b *boltDB) copyTo(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	var opened *os.File
	db, err := bbolt.Open(path, 0o600, boltOptions(&opened))
	if err != nil {
		return err
	}
	db.NoSync = true // until it is whole
	err = bbolt.Compact(db, b.db, 1<<20)
	if err == nil {
		err = db.Sync()
	}
	return errors.Join(err, db.Close())
}

// isAt reports whether an open file is still the one that has the name.
func isAt(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(path)
	return err == nil && os.SameFile(open, now)
}
