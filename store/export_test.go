package store

// CompactAt sets from how much free space on a file is compacted, and returns how to set it back.
func CompactAt(bytes int64) (back func()) {
	was := compactAt
	compactAt = bytes
	return func() { compactAt = was }
}

// Unsynced reports whether something was written to a bbolt store that was not told to be on the disk.
func Unsynced(s Store) bool { return s.(*boltShare).dirty.Load() }
