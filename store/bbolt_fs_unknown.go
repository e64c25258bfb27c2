//go:build !linux && !darwin

package store

// diskFree is known on Linux and macOS only.
func diskFree(string) (int64, bool) { return 0, false }
