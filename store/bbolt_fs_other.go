//go:build !linux

package store

// networkFilesystem is known on Linux only.
func networkFilesystem(string) (bool, string) { return false, "" }
