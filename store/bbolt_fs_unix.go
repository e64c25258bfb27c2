//go:build linux || darwin

package store

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// diskFree is what this user may still write on path's disk, in bytes.
func diskFree(path string) (free int64, known bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &s); err != nil {
		return 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), true
}
