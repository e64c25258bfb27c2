package keystore

// Holds reports whether an end of a key is held in this process that is not written.
func (k *Keys) Holds(id string) bool {
	_, ok := k.Limits.held.of(id)
	return ok
}

// MaxHeld is how many are.
const MaxHeld = maxHeld

// Watched is how many keys are watched.
func (l *Limits) Watched() int {
	l.watches.mu.Lock()
	defer l.watches.mu.Unlock()
	return len(l.watches.byID)
}
