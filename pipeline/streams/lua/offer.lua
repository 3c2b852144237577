#!lua
-- Admits one frame, or says why not: all or nothing.
-- KEYS  1 frames  2 open  3 bytes  4 results  5 counts  6 cameras  7 camera  8 runs
-- ARGV  1 camera  2 seq  3 head  4 payload ('' for a ring frame)  5 bytes charged  6 deadline, ms
--       7 cursor  8 byte budget  9 'block' or 'shed' when full  10 results kept  11 group
--       12 runs kept
-- Returns {status, entry id (of the last seq: 'seen'), id of each older frame shed ...}; status:
--   admitted | seen: this seq or a later one was offered before | full | shed: this very frame
local frames, open, bytes, results, counts = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local seq, charged, budget = tonumber(ARGV[2]), tonumber(ARGV[5]), tonumber(ARGV[8])
local kept, group = ARGV[10], ARGV[11]

local last = tonumber(redis.call('HGET', KEYS[7], 'last') or '-1')
if seq <= last then
    return { 'seen', tostring(last) }
end

local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + tonumber(now[2]) / 1000

-- As everywhere, what is answered past its deadline says LATE.
local function answer_shed(id, head, deadline)
    local answer = now_ms > tonumber(deadline) and 'LATE' or 'SHED'
    redis.call('XADD', results, 'MAXLEN', '~', kept, '*', 'k', answer, 'e', id, 'm', head)
    redis.call('HINCRBY', counts, answer, 1)
end

-- Frames after the group's last-delivered id wait; those before it are in a worker's hands.
local function last_delivered()
    for _, flat in ipairs(redis.call('XINFO', 'GROUPS', frames)) do
        local name, id
        for index = 1, #flat, 2 do
            if flat[index] == 'name' then name = flat[index + 1] end
            if flat[index] == 'last-delivered-id' then id = flat[index + 1] end
        end
        if name == group then return id end
    end
    return '0-0'
end

local used = tonumber(redis.call('GET', bytes) or '0')
local reply = { '', '' }
if used + charged > budget then
    if ARGV[9] ~= 'shed' then
        return { 'full', tostring(used) }
    end
    local after = redis.call('EXISTS', frames) == 1 and '(' .. last_delivered() or '-'
    while used + charged > budget do
        local oldest = redis.call('XRANGE', frames, after, '+', 'COUNT', 1)[1]
        if not oldest then break end
        local id, fields = oldest[1], {}
        for index = 1, #oldest[2], 2 do fields[oldest[2][index]] = oldest[2][index + 1] end
        redis.call('XDEL', frames, id)
        local deadline = redis.call('ZSCORE', open, id)
        if deadline then
            redis.call('ZREM', open, id)
            local freed = tonumber(fields['n'] or '0') or 0
            used = redis.call('DECRBY', bytes, freed)
            answer_shed(id, fields['m'] or '', deadline)
            reply[#reply + 1] = id
        end
    end
end

-- The ledger: which seqs were offered, as runs without gaps.
redis.call('SADD', KEYS[6], ARGV[1])
if last < 0 then
    redis.call('HSET', KEYS[7], 'from', seq)
elseif seq ~= last + 1 then
    redis.call('RPUSH', KEYS[8], redis.call('HGET', KEYS[7], 'from') .. '-' .. last)
    redis.call('LTRIM', KEYS[8], -tonumber(ARGV[12]), -1)
    redis.call('HSET', KEYS[7], 'from', seq)
    redis.call('HINCRBY', KEYS[7], 'lost', seq - last - 1)
end
redis.call('HSET', KEYS[7], 'last', seq, 'cursor', ARGV[7])
redis.call('HINCRBY', KEYS[7], 'offered', 1)

local status, id
if used + charged > budget then
    status, id = 'shed', now[1] .. string.format('%03d', math.floor(now[2] / 1000)) .. '-shed'
    answer_shed(id, ARGV[3], ARGV[6])
else
    status = 'admitted'
    if ARGV[4] == '' then
        id = redis.call('XADD', frames, '*', 'm', ARGV[3], 'n', ARGV[5])
    else
        id = redis.call('XADD', frames, '*', 'm', ARGV[3], 'n', ARGV[5], 'd', ARGV[4])
    end
    redis.call('ZADD', open, ARGV[6], id)
    redis.call('INCRBY', bytes, charged)
end
reply[1], reply[2] = status, id
return reply
