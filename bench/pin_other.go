//go:build unix && !linux

package main

import "errors"

// cores is nil: only on Linux can this program choose.
func cores() []int { return nil }

func pin(int) error { return errors.New("processes can be kept on a core on Linux only") }
