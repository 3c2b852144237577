#!lua flags=allow-oom
-- Gives the lease back; somebody else's is left alone.
-- KEYS  1 lease
-- ARGV  1 token
-- Returns 1 if it was this one's.
--include mend
put_aside(KEYS[1], 'string')
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
