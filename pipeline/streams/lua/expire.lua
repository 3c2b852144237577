#!lua flags=allow-oom
-- Answers LATE for every open frame whose deadline has passed, judged or not, delivered or not.
-- KEYS  1 frames  2 open  3 bytes  4 results  5 counts
-- ARGV  1 group  2 results kept  3 the most frames to answer
-- Returns the entry ids answered.
local frames, open, bytes, results, counts = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + tonumber(now[2]) / 1000
local late = redis.call('ZRANGEBYSCORE', open, '-inf', '(' .. now_ms, 'LIMIT', 0, ARGV[3])
for _, id in ipairs(late) do
    local entry = redis.call('XRANGE', frames, id, id)[1]
    local fields = {}
    if entry then
        for index = 1, #entry[2], 2 do fields[entry[2][index]] = entry[2][index + 1] end
    end
    redis.call('ZREM', open, id)
    redis.call('XADD', results, 'MAXLEN', '~', ARGV[2], '*',
        'k', 'LATE', 'e', id, 'm', fields['m'] or '')
    redis.call('HINCRBY', counts, 'LATE', 1)
    redis.call('DECRBY', bytes, tonumber(fields['n'] or '0') or 0)
    redis.call('XACK', frames, ARGV[1], id)
    redis.call('XDEL', frames, id)
end
return late
