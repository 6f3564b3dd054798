-- Publishes a snapshot and lets go of what the one before it made superfluous.
--
-- KEYS: head, log, guards
-- ARGV: epoch, place of the snapshot, mark there, chunks, then the guards of which
--       nothing need be known any more
-- Returns the place of the snapshot before and its chunks, or nothing.
local head = redis.call('HMGET', KEYS[1], 'epoch', 'snap', 'snapmark', 'chunks')
if head[1] ~= ARGV[1] or tonumber(ARGV[2]) <= tonumber(head[2]) then return {} end
redis.call('HSET', KEYS[1], 'snap', ARGV[2], 'snapmark', ARGV[3], 'chunks', ARGV[4], 'first', head[2], 'firstmark', head[3])
redis.call('XTRIM', KEYS[2], 'MINID', string.format('0-%.0f', tonumber(head[2]) + 1))
for i = 5, #ARGV do redis.call('HDEL', KEYS[3], ARGV[i]) end
return {head[2], head[4]}
