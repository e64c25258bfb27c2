//go:build !race

package convert

// RaceDetector tells whether the race detector is on.
const RaceDetector = false
