#!lua flags=allow-oom
-- Claims frames of workers without heartbeat, or stuck with them, and removes dead workers that
-- hold none. All is done at once, so no worker is taken for dead that beats again meanwhile.
-- KEYS  1 frames
-- ARGV  1 group  2 worker that claims  3 what the keys of heartbeats begin with
--       4 idle time of a dead worker's frames, ms  5 of a living one's  6 the most frames to claim
-- Returns {entry, how often it was handed out with this time} each.
--include mend
put_aside(KEYS[1], 'stream')
local frames, group, me, most = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[6])
local claimed = {}

local function claim(name, idle_ms)
    local pending = redis.call('XPENDING', frames, group, 'IDLE', idle_ms, '-', '+',
        most - #claimed, name)
    for _, row in ipairs(pending) do
        local entry = redis.call('XCLAIM', frames, group, me, idle_ms, row[1])[1]
        if entry and entry[2] then claimed[#claimed + 1] = { entry, row[4] + 1 } end
    end
end

local consumers = redis.pcall('XINFO', 'CONSUMERS', frames, group)
if consumers.err then return claimed end -- no stream or no group: whoever reads makes them
for _, reply in ipairs(consumers) do
    local about = {}
    for index = 1, #reply, 2 do about[reply[index]] = reply[index + 1] end
    local name = about['name']
    if name ~= me and #claimed < most then
        local alive = redis.call('EXISTS', ARGV[3] .. name) == 1
        if about['pending'] > 0 then
            claim(name, alive and ARGV[5] or ARGV[4])
        elseif not alive then
            redis.call('XGROUP', 'DELCONSUMER', frames, group, name)
        end
    end
end
return claimed
