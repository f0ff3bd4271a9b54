-- One budget: a log of charges (sorted set, id -> microsecond) and its facts (hash: the day's count, a freeze).
-- All windows are looked at together; a charge is written only if every one of them allows it.
--
-- KEYS  1 log, 2 facts
-- ARGV  1 take | look | freeze
--       2 id of the charge: the same id within the log's memory is charged once
--       3 cost; for a freeze its microseconds
--       4 what the day allows, -1 if no day is counted    5 1 if this call counts in the day
--       6-8 what PostgreSQL knows: day, count, count of the orders let through while Redis was away
--       9 1 if that was read just now    10 charges to assume in the log when this server has lost its memory
--       11 orders of the day that it may have counted then, beyond what PostgreSQL knows
--       12.. per window: microseconds, what it allows
-- Gives {1 go | 0 wait | -1 ask PostgreSQL about this day first, microseconds to wait, what to wait for, day,
--        count of the day, part of it while Redis was away, the time, then per window: count, microseconds until the
--        cost fits}.
-- What to wait for: the window's number, 0 for the day, -1 for a freeze.
local DAY_SECONDS, INDIA_SECONDS = 86400, 19800
local LONGEST_FREEZE = 60 * 1000000

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local log, facts, op, id, cost = KEYS[1], KEYS[2], ARGV[1], ARGV[2], tonumber(ARGV[3])

-- Lua's own conversion to text keeps 14 digits only.
local function text(number) return string.format('%.0f', number) end

local known = redis.call('HMGET', facts, 'day', 'used', 'outside', 'frozen')
local frozen = math.min(tonumber(known[4] or 0), now + LONGEST_FREEZE)

if op == 'freeze' then
  redis.call('HSET', facts, 'frozen', text(math.max(frozen, math.min(now + cost, now + LONGEST_FREEZE))))
  if redis.call('PTTL', facts) < LONGEST_FREEZE / 1000 then redis.call('PEXPIRE', facts, LONGEST_FREEZE / 1000) end
  return {1, 0, 0, 0, 0, 0, now}
end

-- The server's clock was set back: what now lies in the future counts from now, else it would block for long.
for _, member in ipairs(redis.call('ZRANGEBYSCORE', log, '(' .. text(now), '+inf')) do
  redis.call('ZADD', log, text(now), member)
end

local day, used, outside = 0, 0, 0
local allowed_of_day = tonumber(ARGV[4])
local counts_in_day = allowed_of_day >= 0 and ARGV[5] == '1'
if allowed_of_day >= 0 then
  day = math.floor((time[1] + INDIA_SECONDS) / DAY_SECONDS)
  local asked_day = tonumber(ARGV[6])
  if tonumber(known[1]) == day then
    used, outside = tonumber(known[2]), tonumber(known[3])
  elseif asked_day ~= day or ARGV[9] ~= '1' then
    return {-1, 0, 0, day, 0, 0, now}
  elseif not known[1] then
    for i = 1, tonumber(ARGV[10]) do redis.call('ZADD', log, text(now), 'lost:' .. i) end
    used = tonumber(ARGV[7]) + tonumber(ARGV[11])
  end
  if asked_day == day then
    used, outside = math.max(used, tonumber(ARGV[7])), math.max(outside, tonumber(ARGV[8]))
  end
  if tonumber(known[1]) ~= day or used ~= tonumber(known[2]) or outside ~= tonumber(known[3]) then
    redis.call('HSET', facts, 'day', day, 'used', used, 'outside', outside)
    redis.call('EXPIRE', facts, 2 * DAY_SECONDS)
  end
end

local reply, wait, reason, longest = {1, 0, 0, day, 0, 0, now}, 0, 0, 0
local again = op == 'take' and redis.call('ZSCORE', log, id .. ':1')
for i = 12, #ARGV, 2 do
  local length, allowed = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  local after = '(' .. text(now - length)
  local count, free = redis.call('ZCOUNT', log, after, '+inf'), 0
  local over = count + cost - allowed
  if over > 0 then
    local leaving = redis.call('ZRANGEBYSCORE', log, after, '+inf', 'WITHSCORES', 'LIMIT', over - 1, 1)
    free = tonumber(leaving[2]) + length - now
  end
  if free > wait then wait, reason = free, (i - 10) / 2 end
  longest = math.max(longest, length)
  reply[#reply + 1] = count
  reply[#reply + 1] = free
end
if counts_in_day and used + outside + cost > allowed_of_day then
  local midnight = ((day + 1) * DAY_SECONDS - INDIA_SECONDS) * 1000000
  if midnight - now > wait then wait, reason = midnight - now, 0 end
end
if frozen - now > wait then wait, reason = frozen - now, -1 end

if again then
  wait = 0
elseif op == 'take' and wait == 0 then
  redis.call('ZREMRANGEBYSCORE', log, '-inf', text(now - longest))
  for i = 1, cost do redis.call('ZADD', log, text(now), id .. ':' .. i) end
  redis.call('PEXPIRE', log, math.ceil(longest / 1000) + 1000)
  if counts_in_day then used = redis.call('HINCRBY', facts, 'used', cost) end
end
if wait > 0 then reply[1], reply[2], reply[3] = 0, wait, reason end
reply[5], reply[6] = used + outside, outside
return reply
