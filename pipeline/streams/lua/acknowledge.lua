#!lua flags=allow-oom
-- Acknowledges verdicts of a program and keeps how far it has read, for its next start.
-- KEYS  1 results  2 programs
-- ARGV  1 program  2 result id and number of the last verdict delivered, '' to leave it
--       then the result ids
--include mend
put_aside(KEYS[1], 'stream')
put_aside(KEYS[2], 'hash')
if ARGV[2] ~= '' then redis.call('HSET', KEYS[2], ARGV[1], ARGV[2]) end
local acknowledged = 0
for at = 3, #ARGV do
    acknowledged = acknowledged + redis.call('XACK', KEYS[1], ARGV[1], ARGV[at])
end
return acknowledged
