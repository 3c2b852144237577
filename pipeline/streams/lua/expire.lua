#!lua flags=allow-oom
-- Answers LATE for every open frame whose deadline has passed, judged or not, delivered or not.
-- KEYS  1 frames  2 open  3 bytes  4 results  5 counts
-- ARGV  1 group  2 results kept  3 the most frames to answer
-- Returns the time on this server's clock, ms, and the entry ids answered.
--include publish
--include mend
local frames, open, bytes, results, counts = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
mend_books(frames, open, bytes, results, counts)
local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + tonumber(now[2]) / 1000
local late = redis.call('ZRANGEBYSCORE', open, '-inf', '(' .. string.format('%.3f', now_ms),
    'LIMIT', 0, ARGV[3])
local reply = { string.format('%.3f', now_ms) }
for _, id in ipairs(late) do
    local entry = redis.call('XRANGE', frames, id, id)[1]
    local fields = {}
    if entry then
        for index = 1, #entry[2], 2 do fields[entry[2][index]] = entry[2][index + 1] end
    end
    redis.call('ZREM', open, id)
    publish(results, counts, ARGV[2], now_ms, fields['u'],
        { 'k', 'LATE', 'e', id, 'm', fields['m'] or '' })
    redis.call('DECRBY', bytes, charge_of(fields['n']))
    redis.call('XACK', frames, ARGV[1], id)
    redis.call('XDEL', frames, id)
    reply[#reply + 1] = id
end
if #late > 0 then settle_bytes(open, bytes) end
return reply
