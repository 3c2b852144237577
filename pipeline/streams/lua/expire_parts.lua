#!lua flags=allow-oom
-- Answers every open part whose deadline has passed: a view is missing.
-- KEYS  as join_views
-- ARGV  1 results kept  2 the plan, as join_views  3 the most parts to answer
-- Returns the time on this server's clock, ms, the next deadline ('' where no part is open) and the
-- parts answered.
--include part
local station = { open = KEYS[1], parts = KEYS[2], views = KEYS[3], closed = KEYS[4],
    books = KEYS[5], results = KEYS[6], counts = KEYS[7], kept = ARGV[1] }
local plan = read_plan(station, ARGV[2])
if not plan then return redis.error_reply(OTHER_PLAN) end
local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + tonumber(now[2]) / 1000
local late = redis.call('ZRANGEBYSCORE', station.open, '-inf',
    '(' .. string.format('%.3f', now_ms), 'LIMIT', 0, ARGV[3])
for _, pass in ipairs(late) do
    close_part(station, pass, plan.names, now_ms, { answer = 'LATE', reason = 'MISSING_VIEW' })
end
local next_due = redis.call('ZRANGE', station.open, 0, 0, 'WITHSCORES')[2] or ''
return { string.format('%.3f', now_ms), next_due, unpack(late) }
