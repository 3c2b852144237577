#!lua flags=allow-oom
-- Notes how far a line had come when a program looked, and what was lost if Redis went back.
-- KEYS  1 witnesses  2 rollbacks, then for each camera that lost frames: camera, rolled
-- ARGV  1 who notes it  2 its note as it was read ('' where there was none)  3 its new note
--       4 what is kept of each list  5 the record of the rollback ('' where Redis did not go back)
--       then for each camera: seq before the first lost, last seq lost
-- Returns 1, or 0 and nothing is done where the note is not what was read: look again.
--include mend
--include rolled
put_aside(KEYS[1], 'hash')
put_aside(KEYS[2], 'list')
for at = 3, #KEYS, 2 do
    put_aside(KEYS[at], 'hash')
    put_aside(KEYS[at + 1], 'list')
end
local kept = ARGV[4]
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if ARGV[5] ~= '' then
    local now = redis.call('TIME')
    local ms = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
    redis.call('RPUSH', KEYS[2], ms .. ' ' .. ARGV[5])
    redis.call('LTRIM', KEYS[2], -tonumber(kept), -1)
end
for at = 6, #ARGV, 2 do
    mark_rolled(KEYS[at - 2], KEYS[at - 3], ARGV[at], ARGV[at + 1], kept)
end
return 1
