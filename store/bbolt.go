package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"go.uber.org/zap"
)

func init() { caddy.RegisterModule(Bbolt{}) }

// Bbolt keeps everything in one file that one process has open. It needs no set-up. A write has reached the disk
// when it returns, unless Sync says otherwise.
//
// A damaged file is never repaired, emptied or made anew: opening it fails, and the file stays as it was found. A file
// does not shrink while it is used; one that is more than half empty, and by more than 64 MiB, is compacted when it is
// opened.
type Bbolt struct {
	// Path is the file; its folder is made when missing. Mode 0600, new folders 0700.
	// Default: chat2response/store.db in Caddy's data directory.
	Path string `json:"path,omitempty"`
	// Sync says when writes reach the disk:
	//
	//	always    before they are acknowledged, many at a time; nothing is lost, whatever happens
	//	interval  within SyncInterval. What was written since is lost if the machine stops (not if the process does)
	//	never     when the system writes them, which Linux does within half a minute or so
	//
	// With the last two, a machine that stops may also leave a damaged file, since pages reach the disk in any order:
	// then the store refuses to open, and a backup is needed. Final changes (revocations) are on the disk in any case,
	// in the journal beside the file, and so is all that was written before them. Several configurations of one
	// file may differ: each writes in its own way, and what one writes for good is preceded by what the others have
	// written. Default: always.
	Sync string `json:"sync,omitempty"`
	// SyncInterval is that of "interval". Default: 1s; at least 10ms.
	SyncInterval caddy.Duration `json:"sync_interval,omitempty"`
}

// CaddyModule returns the module's name and constructor.
func (Bbolt) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".bbolt", New: func() caddy.Module { return new(Bbolt) }}
}

// Provision sets the default path and fills in placeholders. It does not touch the file.
func (b *Bbolt) Provision(caddy.Context) error {
	if b.Path == "" {
		b.Path = filepath.Join(caddy.AppDataDir(), "chat2response", "store.db")
	}
	if b.Sync == SyncInterval && b.SyncInterval == 0 {
		b.SyncInterval = caddy.Duration(time.Second)
	}
	return fill("bbolt path", &b.Path)
}

// Validate refuses what is none of the ways to write.
func (b *Bbolt) Validate() error {
	switch {
	case b.Sync != "" && b.Sync != SyncAlways && b.Sync != SyncInterval && b.Sync != SyncNever:
		return fmt.Errorf("bbolt: sync is %.40q; it must be always, interval or never", b.Sync)
	case b.Sync != SyncInterval && b.SyncInterval != 0:
		return errors.New("bbolt: sync_interval is for sync interval only")
	case b.Sync == SyncInterval && time.Duration(b.SyncInterval) < 10*time.Millisecond:
		return fmt.Errorf("bbolt: sync_interval is %s; it must be at least 10ms", time.Duration(b.SyncInterval))
	}
	return nil
}

// UnmarshalCaddyfile reads:
//
//	bbolt [<path>] {
//		path          <path>
//		sync          always|interval|never
//		sync_interval <duration>
//	}
func (b *Bbolt) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return parseBlock(d, setString(&b.Path), setting{
		"path": setString(&b.Path),
		"sync": setString(&b.Sync),
		"sync_interval": func(v string) error {
			every, err := caddy.ParseDuration(v)
			b.SyncInterval = caddy.Duration(every)
			return err
		},
	})
}

// Open returns a share of the open file, opening it if this process has not. It waits at most a second for another
// process to let go of the file. A damaged file is [ErrCorrupt].
func (b *Bbolt) Open(context.Context) (Store, error) {
	path, err := realPath(b.Path)
	if err != nil {
		return nil, fmt.Errorf("bbolt: %w", err)
	}
	db, release, err := share("bbolt:"+path, func() (*boltDB, error) { return openBolt(path) })
	if err != nil {
		return nil, err
	}
	s := &boltShare{boltDB: db, sync: always, release: release}
	switch b.Sync {
	case SyncInterval:
		s.sync = within(b.SyncInterval)
	case SyncNever:
		s.sync = never
	}
	return s, nil
}

type boltShare struct {
	*boltDB
	sync    within // of its writes
	release func() error
}

func (s *boltShare) Close() error { return s.release() }

// realPath makes the folder and returns the path that two spellings of one file have in common.
func realPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(abs), 0o700); err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	if err == nil {
		return real, nil
	}
	folder, err := filepath.EvalSymlinks(filepath.Dir(abs))
	return filepath.Join(folder, filepath.Base(abs)), err
}

// boltDB is the open file. bbolt answers ErrDatabaseNotOpen after its Close, so a late user needs no lock of ours.
type boltDB struct {
	path    string
	db      *bbolt.DB
	file    *os.File // the descriptor bbolt works on; it carries the lock
	storeID string
	journal *journal

	pageSize int64
	worker   *worker

	// failed is set for good at the first fault or panic under the file's memory map: what bbolt's locks and
	// caches are worth after it is not known.
	failed atomic.Pointer[error]

	queue queue

	unsynced chan time.Duration // how soon what was written last is to be on the disk
	dirty    atomic.Bool        // something was written that was not told to be on the disk
}

// boltOptions are those of every opening. The descriptor is captured because after a fault inside bbolt.Open, or later,
// nobody else can close it, and with it the lock would stay until the process ends.
func boltOptions(file **os.File) *bbolt.Options {
	return &bbolt.Options{
		Timeout:      time.Second, // without it a second opener waits forever
		FreelistType: bbolt.FreelistMapType,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag&^os.O_CREATE, mode)
			*file = f
			return f, err
		},
	}
}

func openBolt(path string) (*boltDB, error) {
	if err := refuseFolder(path); err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := createBolt(path); err != nil {
			return nil, fmt.Errorf("bbolt: creating %s: %w", path, err)
		}
	}
	if err := preflight(path); err != nil {
		return nil, err
	}
	if remote, kind := networkFilesystem(path); remote {
		log("bbolt").Warn("the file is on a network filesystem, where locks and memory maps are not dependable; use a local disk, or redis for several nodes",
			zap.String("path", path), zap.String("filesystem", kind))
	}

	b := &boltDB{path: path, worker: newWorker(), unsynced: make(chan time.Duration, 1)}
	err := b.open()
	if err == nil {
		err = b.openCompact()
	}
	if err == nil {
		b.journal, err = openJournal(path+".revoked", b.storeID)
	}
	if err == nil {
		err = b.replay()
	}
	if err != nil {
		b.abandon()
		return nil, err
	}
	b.worker.every(time.Minute, func() { _ = b.sweep(sweepMost) })
	b.worker.wg.Go(b.walk)
	b.worker.wg.Go(b.syncLater)
	return b, nil
}

// open opens the file and reads what it is. Another process that had the file may have compacted it while this one waited
// for the lock: then the lock is on a file without a name, and the one with the name is opened.
func (b *boltDB) open() error {
	return b.safely(func() (err error) {
		for range 10 {
			if b.db, err = bbolt.Open(b.path, 0o600, boltOptions(&b.file)); err != nil {
				return openError(b.path, err)
			}
			if isAt(b.file, b.path) {
				return b.db.View(func(tx *bbolt.Tx) error {
					b.pageSize = int64(b.db.Info().PageSize) // it reads the map, which may move where no transaction is open
					b.storeID, err = identity(b.path, tx)
					return err
				})
			}
			if err := b.db.Close(); err != nil {
				return err
			}
		}
		return fmt.Errorf("%w: bbolt: %s is replaced again and again", ErrUnavailable, b.path)
	})
}

// openCompact compacts the file if much of it is free, and goes on with the new one.
func (b *boltDB) openCompact() error {
	var done bool
	err := b.safely(func() (err error) {
		done, err = b.compact()
		return err
	})
	if errors.Is(err, ErrCorrupt) {
		return err
	}
	if err != nil {
		log("bbolt").Warn("the file could not be compacted; it is used as it is", zap.String("path", b.path), zap.Error(err))
	}
	if !done {
		return nil
	}
	if err := b.safely(b.db.Close); err != nil {
		return err
	}
	return b.open()
}

// openError says what a failed bbolt.Open most likely means.
func openError(path string, err error) error {
	if errors.Is(err, bolterrors.ErrTimeout) {
		return fmt.Errorf("%w: bbolt: %s is in use by another process (one process per file): stop the other chat2response, give this one its own path, or use redis for several nodes",
			ErrUnavailable, path)
	}
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("bbolt: %s: %w: the user that runs this process must be able to read and write it", path, err)
	}
	if _, system := errors.AsType[syscall.Errno](err); system { // no descriptors, no memory, a disk that does not answer
		return fmt.Errorf("%w: bbolt: opening %s: %w", ErrUnavailable, path, err)
	}
	return corrupt(path, err.Error())
}

// abandon lets go of a file whose opening failed. After a fault bbolt's own Close may wait forever on a lock that
// the fault has left behind; closing the descriptor frees the file's lock and nothing else is needed.
func (b *boltDB) abandon() {
	b.worker.stop()
	b.journal.close()
	if b.failed.Load() == nil && b.db != nil {
		_ = b.db.Close()
		return
	}
	if b.file != nil {
		_ = b.file.Close()
	}
}

// Destruct closes the file. The pool calls it when the last share is closed; users that come later get ErrClosed.
func (b *boltDB) Destruct() error {
	b.worker.stop()
	defer b.journal.close()
	if b.failed.Load() != nil {
		return nil // fail has closed what can be closed
	}
	_ = b.sync() // it has said so
	return b.safely(b.db.Close)
}

// safely runs f so that a fault in the memory map (the file was truncated or its disk failed) and a panic of bbolt
// (a page that is not what it should be) become errors. Without SetPanicOnFault the Go runtime ends the process, and
// with it every site that Caddy serves, and no recover can help.
func (b *boltDB) safely(f func() error) (err error) {
	if failed := b.failed.Load(); failed != nil {
		return *failed
	}
	before := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(before)
		if what := recover(); what != nil {
			err = b.fail(what)
		}
	}()
	err = f()
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}

func (b *boltDB) fail(what any) error {
	err := fmt.Errorf("%w; repair it and start the server again", corrupt(b.path, fmt.Sprint(what)))
	if !b.failed.CompareAndSwap(nil, &err) {
		return *b.failed.Load()
	}
	log("bbolt").Error("the database file is damaged; it will not be used again by this process",
		zap.String("path", b.path), zap.Any("cause", what), zap.StackSkip("stack", 1))
	if b.file != nil {
		_ = b.file.Close()
	}
	return err
}

func (b *boltDB) view(ctx context.Context, f func(*bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return b.safely(func() error { return b.db.View(f) })
}

// Interface guards
var (
	_ Module                = (*Bbolt)(nil)
	_ Store                 = (*boltShare)(nil)
	_ caddy.Provisioner     = (*Bbolt)(nil)
	_ caddy.Validator       = (*Bbolt)(nil)
	_ caddyfile.Unmarshaler = (*Bbolt)(nil)
)
