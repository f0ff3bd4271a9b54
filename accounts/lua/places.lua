-- The places of one account: who holds one (sorted set, token -> the millisecond at which it is free again by itself).
--
-- KEYS  1 the places
-- ARGV  1 take | keep | release | look    2 token    3 milliseconds it may be held    4 how many may be taken
-- Gives {1 yes | 0 no, how many are taken, milliseconds until the first is free by itself}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local key, op, token = KEYS[1], ARGV[1], ARGV[2]
local held_ms, places = tonumber(ARGV[3]), tonumber(ARGV[4])

redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
-- No place is held for so long: the server's clock was set back.
redis.call('ZREMRANGEBYSCORE', key, now + 600000, '+inf')
local yes = 1
if op == 'release' then
  yes = redis.call('ZREM', key, token)
elseif op == 'keep' then
  yes = redis.call('ZSCORE', key, token) and 1 or 0
  if yes == 1 then redis.call('ZADD', key, now + held_ms, token) end
elseif op == 'take' then
  yes = redis.call('ZCARD', key) < places and 1 or 0
  if yes == 1 then redis.call('ZADD', key, now + held_ms, token) end
end
local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')
if last[2] then redis.call('PEXPIREAT', key, string.format('%.0f', last[2])) end
return {yes, redis.call('ZCARD', key), first[2] and math.max(0, first[2] - now) or 0}
