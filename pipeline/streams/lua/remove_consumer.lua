#!lua flags=allow-oom
-- Removes a dead worker from the group, unless it holds frames: a consumer's pending entries would
-- be lost with it.
-- KEYS  1 frames
-- ARGV  1 group  2 consumer
-- Returns 1 if it was removed.
if redis.call('TYPE', KEYS[1]).ok ~= 'stream' then return 0 end
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])
if #pending > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
