-- Puts a batch of commands into the order and returns what came since the guard's
-- place, and the time, in one step.
--
-- KEYS: head, log, guards
-- ARGV: epoch, the guard's place, the mark there, guard, number of its batch, the
--       batch (empty: only read), about how many entries at most, lifetime of the keys
--       in ms, of how many bytes together
local head = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'time', 'mark', 'first', 'firstmark', 'clock')
if not head[1] or head[1] ~= ARGV[1] then return {'lost', head[1] or '', head[2] or ''} end
local seq, first, at = tonumber(head[2]), tonumber(head[5]), tonumber(ARGV[2])
-- A Redis that evicts a key has forgotten, too: who went on would know less than others.
if redis.call('XLEN', KEYS[2]) < seq - first or seq > first and redis.call('EXISTS', KEYS[3]) == 0 then
  redis.call('DEL', KEYS[1])
  return {'lost', '', ''}
end
if at < first then return {'behind'} end
local mark
if at == seq then
  mark = head[4]
elseif at == first then
  mark = head[6]
else
  local entry = redis.call('XRANGE', KEYS[2], '0-' .. ARGV[2], '0-' .. ARGV[2])
  mark = entry[1] and entry[1][2][2]
end
-- Somebody whose past is not this one's must not go on in it.
if mark ~= ARGV[3] then return {'lost', head[1], head[2]} end
local now = redis.call('TIME')
local clock = tonumber(now[1]) * 1000000 + tonumber(now[2])
-- Where the clock was set back, or is that of another Redis, the time of the order goes on
-- from where it is, a little slower, until the clock has caught up.
local passed = math.max(0, clock - tonumber(head[7] or clock))
local time = math.max(clock, tonumber(head[3]) + math.floor(passed * 7 / 8))
if ARGV[6] ~= '' and tonumber(ARGV[5]) > tonumber(redis.call('HGET', KEYS[3], ARGV[4]) or '0') then
  seq = seq + 1
  local mine = ARGV[4] .. ':' .. ARGV[5]
  redis.call('XADD', KEYS[2], string.format('0-%.0f', seq), 'm', mine, 't', string.format('%.0f', time), 'b', ARGV[6])
  redis.call('HSET', KEYS[1], 'seq', string.format('%.0f', seq), 'time', string.format('%.0f', time),
    'clock', string.format('%.0f', clock), 'mark', mine)
  redis.call('HSET', KEYS[3], ARGV[4], ARGV[5])
  if seq % 64 == 1 then
    for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], ARGV[8]) end
    -- Guards that say little need their snapshot for longer than it was written for.
    local snap = redis.call('HMGET', KEYS[1], 'snap', 'chunks')
    local chunk = string.sub(KEYS[1], 1, -#'head' - 1) .. 'snap:' .. head[1] .. ':' .. snap[1] .. ':'
    for i = 0, tonumber(snap[2]) - 1 do redis.call('PEXPIRE', chunk .. i, ARGV[8]) end
  end
end
-- No more than comes through within the time of a round trip: the guard asks for the rest.
local news, bytes, from = {}, 0, string.format('(0-%.0f', at)
repeat
  local part = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', 4)
  for _, entry in ipairs(part) do
    table.insert(news, entry)
    bytes, from = bytes + #(entry[2][6] or ''), '(' .. entry[1]
  end
until #part < 4 or #news >= tonumber(ARGV[7]) or bytes >= tonumber(ARGV[9])
return {'ok', string.format('%.0f', seq), news, string.format('%.0f', time)}
