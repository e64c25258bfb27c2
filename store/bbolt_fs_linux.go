package store

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// networkFilesystem reports whether path's folder is on a filesystem that is somewhere else, and which.
func networkFilesystem(path string) (bool, string) {
	var s unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &s); err != nil {
		return false, ""
	}
	kind, remote := map[uint32]string{
		unix.NFS_SUPER_MAGIC:  "nfs",
		unix.SMB_SUPER_MAGIC:  "smb",
		unix.SMB2_SUPER_MAGIC: "smb2",
		unix.CIFS_SUPER_MAGIC: "cifs",
		unix.CEPH_SUPER_MAGIC: "ceph",
		unix.AFS_SUPER_MAGIC:  "afs",
		unix.V9FS_MAGIC:       "9p",
	}[uint32(s.Type)]
	return remote, kind
}
