#!lua flags=allow-oom
-- Takes the lease, or keeps it for longer; somebody else's is left alone.
-- KEYS  1 lease
-- ARGV  1 token  2 how long it lasts, ms
-- Returns 1 if it is held.
--include mend
put_aside(KEYS[1], 'string')
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
