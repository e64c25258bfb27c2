package store

import (
	"context"
	"errors"
	"time"
)

// manyScript makes changes that win, all or none, values and their places in the order together.
//
// KEYS: the values' names, then those of the indexes. ARGV: the number of changes, and of each: what must be there
// ("": nothing; with the next "1" it does not matter), drop, what will be ("": nothing), ms to live (0: for ever), the
// number of its index (0: unlisted), score, id, channel ("": none). Returns the numbers, from 0, of the changes that
// have lost; if there are none, all were made.
//
// An index lives as long as what lives longest in it. Nothing is unpacked onto Lua's stack, which has room for 8000.
const manyScript = `
local n, lost = tonumber(ARGV[1]), {}
for i = 1, n do
  local a = 8 * i - 6
  if ARGV[a + 1] ~= '1' and (redis.call('GET', KEYS[i]) or '') ~= ARGV[a] then lost[#lost + 1] = i - 1 end
end
if #lost > 0 then return lost end
local before, longest = {}, {}
for i = 1, n do
  local a = 8 * i - 6
  local new, live, index, id = ARGV[a + 2], ARGV[a + 3], tonumber(ARGV[a + 4]), ARGV[a + 6]
  if new == '' or live == '-1' then
    redis.call('DEL', KEYS[i])
    if index > 0 then redis.call('ZREM', KEYS[n + index], id) end
  else
    if live == '0' then redis.call('SET', KEYS[i], new) else redis.call('SET', KEYS[i], new, 'PX', live) end
    if index > 0 then
      if not before[index] then before[index] = redis.call('PTTL', KEYS[n + index]) end
      redis.call('ZADD', KEYS[n + index], ARGV[a + 5], id)
      local ms = tonumber(live)
      local most = longest[index]
      if ms == 0 or most == 0 then longest[index] = 0 else longest[index] = math.max(most or 1, ms) end
    end
  end
  if ARGV[a + 7] ~= '' then redis.pcall('PUBLISH', ARGV[a + 7], id) end
end
for index, ms in pairs(longest) do
  local ttl = before[index]
  if ms == 0 then
    redis.call('PERSIST', KEYS[n + index])
  elseif ttl == -2 or (ttl >= 0 and ms > ttl) then
    redis.call('PEXPIRE', KEYS[n + index], ms)
  end
end
return lost`

func (db *redisDB) SwapMany(ctx context.Context, changes []Change) error {
	if err := checkAll(changes); err != nil {
		return err
	}
	switch {
	case len(changes) == 0:
		return ctx.Err()
	case len(changes) == 1 && tag(changes[0].Space) == "": // its order is perhaps on another node
		if err := db.Swap(ctx, changes[0]); errors.Is(err, ErrConflict) {
			return conflict([]int{0})
		} else {
			return err
		}
	}
	names := make([]string, 0, len(changes)+8)
	args := make([]any, 0, 1+8*len(changes))
	args = append(args, len(changes))
	indexes, number := map[string]int{}, 0
	for i := range changes {
		c := &changes[i]
		names = append(names, db.name(c.Space, c.ID))
		index, channel, drop := 0, "", 0
		if !c.Unlisted {
			if index = indexes[c.Space]; index == 0 {
				number++
				index, indexes[c.Space] = number, number
			}
		}
		if c.Announce {
			channel = db.channel(c.Space)
		}
		if c.Drop {
			drop = 1
		}
		args = append(args, c.Old, drop, c.New, toLive(c.Expires), index, c.Score, c.ID, channel)
	}
	for range number {
		names = append(names, "")
	}
	for space, index := range indexes {
		names[len(changes)+index-1] = db.indexName(space)
	}
	var patience time.Duration
	if len(changes) > 100 {
		patience = redisTimeout + time.Duration(len(changes))*redisChange
	}
	return db.doWithin(ctx, max(redisTimeout, patience), func(ctx context.Context) error {
		lost, err := db.write(ctx, patience, manyScript, names, args...).int64s()
		if len(lost) == 0 || err != nil && !errors.Is(err, ErrNotDurable) {
			return err
		}
		e := &ConflictError{make([]int, len(lost))}
		for i, n := range lost {
			e.Lost[i] = int(n)
		}
		return e
	})
}
