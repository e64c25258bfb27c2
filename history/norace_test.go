//go:build !race

package history_test

const raceEnabled = false

const slower = 1
