-- Takes from the allowances of many keys at once, by the rule of `limiter.decide`.
--
-- KEYS are the keys, one for each take and in order; a key may come several times.
-- ARGV[1] holds three doubles for each take: rate per second, burst, cost.
-- The answer holds two doubles for each take: seconds until the key's bucket is full again, and
-- seconds that the request would have to wait. Doubles travel packed, because Redis cuts the
-- fraction off a number that a script returns.

-- Times count from 2026, because a double near zero is finer: 4 ns in the first years.
local EPOCH_S = 1767225600
local TOLERANCE_S = 0.000001
local LONGEST_MS = 1e12

local time = redis.call('TIME')
local now = (time[1] - EPOCH_S) + time[2] / 1000000

local stored = redis.call('MGET', unpack(KEYS))
local full_at, changed, answers, position = {}, {}, {}, 1

for i, key in ipairs(KEYS) do
  local rate, burst, cost
  rate, burst, cost, position = struct.unpack('<ddd', ARGV[1], position)
  local per_unit = 1 / rate
  local before = math.max(full_at[key] or tonumber(stored[i] or now), now)
  local after = before + cost * per_unit
  local wait = after - burst * per_unit - now
  if wait <= TOLERANCE_S then
    before = math.min(after, now + burst * per_unit)
    changed[key] = true
  end
  full_at[key] = before
  answers[i] = struct.pack('<dd', before - now, wait)
end

for key in pairs(changed) do
  -- A full bucket needs no memory.
  local ttl_ms = math.min(math.ceil((full_at[key] - now) * 1000), LONGEST_MS)
  redis.call('SET', key, string.format('%.17g', full_at[key]),
             'PX', string.format('%.0f', math.max(ttl_ms, 1)))
end

return table.concat(answers)
