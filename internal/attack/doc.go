// Package attack has no code but tests: what an adversary found, repeated against the built binary, and generators that
// go on from there. They are behind the build tag "attack", because they take minutes and memory:
//
//	go test -tags attack ./internal/attack [-binary path] [-seed n]
//
// or bash .ci/attack. Everything is on loopback, and every loop has an end. They need Linux: what the gateway has
// resident is read from /proc.
package attack
