#!lua flags=allow-oom
-- Publishes verdicts: for each frame, who removes it from the register publishes, nobody else.
-- It may run when Redis is out of memory, because it frees more than it adds.
-- KEYS  1 frames  2 open  3 bytes  4 results  5 counts
-- ARGV  1 group  2 results kept, then for each frame
--       entry id, bytes charged, answer (OK, NG, LATE, ...), head, judgement ('' where there is
--       none), reason ('' where the answer says all), deadline as it came with the frame ('' where
--       none did)
-- A frame whose deadline has passed on this server's clock is answered LATE, whatever was said.
-- Returns the number of the last verdict published, 0 where none was, then for each frame the answer
-- published, or '' where someone else had answered.
--include publish
--include mend
local frames, open, bytes, results, counts = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
mend_books(frames, open, bytes, results, counts)
local group, kept = ARGV[1], ARGV[2]
local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + tonumber(now[2]) / 1000
local published = { 0 }
for at = 3, #ARGV, 7 do
    local id, answer, reason = ARGV[at], ARGV[at + 2], ARGV[at + 5]
    local deadline = redis.call('ZSCORE', open, id)
    if deadline then
        redis.call('ZREM', open, id)
        if now_ms > tonumber(deadline) then
            answer, reason = 'LATE', ''
        end
        local fields = { 'k', answer, 'e', id, 'm', ARGV[at + 3] }
        if ARGV[at + 4] ~= '' then
            fields[#fields + 1], fields[#fields + 2] = 'j', ARGV[at + 4]
        end
        if reason ~= '' then
            fields[#fields + 1], fields[#fields + 2] = 'r', reason
        end
        published[1] = publish(results, counts, kept, now_ms, ARGV[at + 6], fields)
        redis.call('DECRBY', bytes, ARGV[at + 1])
        published[#published + 1] = answer
    else
        published[#published + 1] = ''
    end
    redis.call('XACK', frames, group, id)
    redis.call('XDEL', frames, id)
end
settle_bytes(open, bytes)
return published
