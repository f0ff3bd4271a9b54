-- One breaker: closed, open, or half open with one probe at a time. Its generation grows with every change of state,
-- so that what was asked for in an earlier state cannot count in this one.
--
-- KEYS  1 the breaker (hash)
-- ARGV  1 ask | report | look
--       2 failures in a row that open it    3 milliseconds it stays open    4 successes that close it again
--       5 milliseconds a probe may take     6 id of the asker
--       7 for a report: the generation it was asked in    8 ok | failed | neither
-- Gives {1 go | 0 not now | -1 of an earlier generation, state, generation, milliseconds to wait, failures in a row}.
local REMEMBERED_MS = 3600 * 1000

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local key, op, id = KEYS[1], ARGV[1], ARGV[6]
local threshold, open_ms, needed, probe_ms = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local known = redis.call('HMGET', key, 'state', 'failures', 'opened', 'successes', 'generation', 'probe', 'probe_until')
local state, failures, successes = known[1] or 'closed', tonumber(known[2] or 0), tonumber(known[4] or 0)
-- Not in the future, whatever was done to the clock: it would stay open for long.
local opened = math.min(tonumber(known[3] or 0), now)
local generation, probe = tonumber(known[5] or 0), known[6]
local probe_until = math.min(tonumber(known[7] or 0), now + probe_ms)

local function write(...)
  redis.call('HSET', key, ...)
  redis.call('PEXPIRE', key, open_ms + REMEMBERED_MS)
end

local function change(to)
  -- At least the time: a breaker that Redis has forgotten must not use a generation again.
  state, generation = to, math.max(generation + 1, now)
  redis.call('HDEL', key, 'probe', 'probe_until')
  probe, probe_until, failures, successes = false, 0, 0, 0
  if to == 'open' then opened = now end
  write('state', to, 'failures', 0, 'successes', 0, 'opened', opened, 'generation', generation)
end

if state == 'open' and now - opened >= open_ms then
  if op == 'look' then return {1, 'half_open', generation, 0, 0} end
  change('half_open')
end
if op == 'look' then return {1, state, generation, state == 'open' and opened + open_ms - now or 0, failures} end

if op == 'ask' then
  if state == 'closed' then return {1, state, generation, 0, failures} end
  if state == 'open' then return {0, state, generation, opened + open_ms - now, 0} end
  if probe and probe_until > now then return {0, state, generation, probe_until - now, 0} end
  write('probe', id, 'probe_until', now + probe_ms)
  return {1, state, generation, 0, 0}
end

if tonumber(ARGV[7]) ~= generation then return {-1, state, generation, 0, 0} end
if probe == id then redis.call('HDEL', key, 'probe', 'probe_until') end
if ARGV[8] == 'ok' then
  if state == 'closed' and failures > 0 then write('failures', 0) end
  if state == 'half_open' then
    if successes + 1 >= needed then change('closed') else write('successes', successes + 1) end
  end
elseif ARGV[8] == 'failed' then
  if state == 'half_open' or (state == 'closed' and failures + 1 >= threshold) then change('open')
  elseif state == 'closed' then write('state', state, 'failures', failures + 1) end
end
return {1, state, generation, 0, 0}
