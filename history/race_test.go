//go:build race

package history_test

const raceEnabled = true

// slower is by how much less is done.
const slower = 3
