#!lua
-- Changes a field of a hash if nobody has changed it since it was read.
-- KEYS  1 hash
-- ARGV  1 field  2 what was read  3 what it becomes ('' stands for no such field in both)
-- Returns 1 if it was changed.
--include mend
put_aside(KEYS[1], 'hash')
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
if ARGV[3] == '' then
    redis.call('HDEL', KEYS[1], ARGV[1])
else
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
return 1
