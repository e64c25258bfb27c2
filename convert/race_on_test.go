//go:build race

package convert

// RaceDetector tells whether the race detector is on: the tests run ten times slower, and those that only compute are
// cut short.
const RaceDetector = true
