-- Makes what a guard knows the beginning of an epoch, unless somebody else did so
-- since it looked.
--
-- KEYS: head, log, guards
-- ARGV: the epoch and the place that were seen there (empty: none), epoch, place,
--       mark, time, secret, format, chunks of the snapshot, lifetime in ms,
--       then guard and number of its last batch, for each guard
local head = redis.call('HMGET', KEYS[1], 'epoch', 'seq')
if (head[1] or '') ~= ARGV[1] or (head[2] or '') ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'seq', ARGV[4], 'mark', ARGV[5], 'time', ARGV[6], 'secret', ARGV[7], 'format', ARGV[8],
  'first', ARGV[4], 'firstmark', ARGV[5], 'snap', ARGV[4], 'snapmark', ARGV[5], 'chunks', ARGV[9])
for i = 11, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
for i = 1, 3 do redis.call('PEXPIRE', KEYS[i], ARGV[10]) end
return 1
