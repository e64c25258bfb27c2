package keystore

import "context"

// Verify returns the key that token is, or
//
//   - ErrInvalidKey: not a token, no such key, or the wrong secret; which of them is not said;
//   - ErrRevoked, ErrExpired: only to those who have the secret;
//   - ErrStoreUnavailable: it could not be found out. Never "invalid" in this case.
//
// It does not look at what the key may do: ask the Key, then Admit. Cost: microseconds on memory and bbolt and when
// Redis's record is cached, else one round trip.
func (k *Keys) Verify(ctx context.Context, token string) (*Key, error) {
	id, secret, ok := parseToken(token)
	if !ok {
		return nil, ErrInvalidKey
	}
	key, err := k.lookup(ctx, id)
	if err != nil {
		return nil, err
	}
	if key == nil {
		nobody.hasSecret(secret)
		return nil, ErrInvalidKey
	}
	if !key.hasSecret(secret) {
		return nil, ErrInvalidKey
	}
	now := k.seconds()
	if err := k.ended(&key.Record, now); err != nil {
		return nil, err
	}
	if k.used.mark(id, now) {
		k.gate.saw(id)
	}
	return key, nil
}

func (k *Keys) lookup(ctx context.Context, id string) (*Key, error) {
	if k.cache != nil {
		return k.cache.get(ctx, id)
	}
	return k.reread(ctx, id)
}

// reread reads a record from the store, whatever is known of it.
func (k *Keys) reread(ctx context.Context, id string) (*Key, error) {
	switch {
	case k.cache != nil:
		return k.cache.renew(ctx, id)
	case k.remote:
		return k.fetch(ctx, id)
	}
	key, _, err := k.read(ctx, id)
	return key, err
}

// Recheck returns nil if a key that was verified before is still good, else as Verify does; ErrStoreUnavailable says that
// it could not be found out. It costs microseconds on memory and bbolt and while Redis's record is cached, else a round
// trip: ask before each turn of a tool loop, and use [Keys.Watch] for what runs between.
func (k *Keys) Recheck(ctx context.Context, id string) error {
	key, err := k.lookup(ctx, id)
	if err != nil {
		return err
	}
	if key == nil {
		return ErrInvalidKey
	}
	return k.ended(&key.Record, k.seconds())
}
