#!lua
-- Admits one frame, or says why not: all or nothing.
-- KEYS  1 frames  2 open  3 bytes  4 results  5 counts  6 cameras  7 camera  8 runs  9 rolled
--       10 holder
-- ARGV  1 camera  2 seq  3 head  4 payload ('' for a ring frame)  5 bytes charged
--       6 time left until the deadline, ms  7 cursor  8 byte budget
--       9 'block' or 'shed' when full  10 results kept  11 group  12 runs kept
--       13 the camera's seq before this one ('' where it knows none)
--       14 this server's time when the camera sent this, ms, as it reckons ('' where it cannot)
--       15 the camera's token ('' where it holds no name)  16 seq - 1
-- Returns {status, text, this server's time in ms, last seq, id of each older frame shed ...};
-- last seq is that of the books before this offer, '' if there was none. Status and text:
--   admitted, entry id | shed: this very frame, entry id | full, bytes in use
--   seen: this seq or a later one was offered before, the last one
--   taken: another process has the camera's name | damaged: the books hold no last seq, what else
-- A seq has up to 19 digits and a number of Lua is exact to 15: they are compared as texts.
--include publish
--include mend
--include rolled
local frames, open, bytes, results, counts = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local camera, runs, rolled = KEYS[7], KEYS[8], KEYS[9]
mend_books(frames, open, bytes, results, counts)
put_aside(KEYS[6], 'set')
mend_camera(camera)
put_aside(runs, 'list')
put_aside(rolled, 'list')
put_aside(KEYS[10], 'string')
local seq, charged, budget = ARGV[2], tonumber(ARGV[5]), tonumber(ARGV[8])
local kept, group, before, previous = ARGV[10], ARGV[11], ARGV[16], ARGV[13]
local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + tonumber(now[2]) / 1000
local now_text = string.format('%.3f', now_ms)
local last = redis.call('HGET', camera, 'last') or ''

local function add(field, ...)
    for _, number in ipairs({ ... }) do redis.call('HINCRBY', camera, field, number) end
end

local function minus(number) return number == '0' and '0' or '-' .. number end

if ARGV[15] ~= '' then
    local holder = redis.call('GET', KEYS[10])
    if holder and holder ~= ARGV[15] then return { 'taken', '', now_text, last } end
end
if not string.find(last, '^%d*$') then return { 'damaged', last, now_text, '' } end
if last ~= '' and not is_less(last, seq) then return { 'seen', last, now_text, last } end

-- The deadline counts from when the camera sent the frame: the time until it got here is gone.
local waited_ms = 0
if ARGV[14] ~= '' then waited_ms = math.max(0, now_ms - tonumber(ARGV[14])) end
local deadline = string.format('%.0f', math.ceil(now_ms - waited_ms + tonumber(ARGV[6])))

-- As everywhere, what is answered past its deadline says LATE.
local function answer_shed(id, head, due, registered)
    local answer = now_ms > tonumber(registered) and 'LATE' or 'SHED'
    publish(results, counts, kept, now_ms, due, { 'k', answer, 'e', id, 'm', head })
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
local reply = { '', '', now_text, last }
if used + charged > budget then
    if ARGV[9] ~= 'shed' then
        return { 'full', tostring(used), now_text, last }
    end
    local after = redis.call('EXISTS', frames) == 1 and '(' .. last_delivered() or '-'
    while used + charged > budget do
        local oldest = redis.call('XRANGE', frames, after, '+', 'COUNT', 1)[1]
        if not oldest then break end
        local id, fields = oldest[1], {}
        for index = 1, #oldest[2], 2 do fields[oldest[2][index]] = oldest[2][index + 1] end
        redis.call('XDEL', frames, id)
        local registered = redis.call('ZSCORE', open, id)
        if registered then
            redis.call('ZREM', open, id)
            used = redis.call('DECRBY', bytes, charge_of(fields['n']))
            answer_shed(id, fields['m'] or '', fields['u'], registered)
            reply[#reply + 1] = id
        end
    end
end

-- The ledger: which seqs were offered, as runs without gaps. Between two runs lie triggers without
-- a picture, and what this server once admitted but knows no longer: it lost its last writes.
redis.call('SADD', KEYS[6], ARGV[1])
if last == '' then
    redis.call('HSET', camera, 'from', seq)
elseif last ~= before then
    redis.call('RPUSH', runs, redis.call('HGET', camera, 'from') .. '-' .. last)
    redis.call('LTRIM', runs, -tonumber(ARGV[12]), -1)
    redis.call('HSET', camera, 'from', seq)
end
local known = last -- by this server or by the camera
if previous ~= '' and (last == '' or is_less(last, previous)) then
    local after = last == '' and '-1' or last
    local high = marked_until(rolled, after)
    if high and not is_less(high, previous) then reply[4] = previous end -- it was told before
    mark_rolled(rolled, camera, after, previous, ARGV[12])
    known = previous
end
if known ~= '' and known ~= before then add('lost', minus(known), seq, -1) end
redis.call('HSET', camera, 'last', seq, 'cursor', ARGV[7])
redis.call('HINCRBY', camera, 'offered', 1)

local status, id
if used + charged > budget then
    status, id = 'shed', now[1] .. string.format('%03d', math.floor(now[2] / 1000)) .. '-shed'
    answer_shed(id, ARGV[3], deadline, deadline)
else
    status = 'admitted'
    local fields = { 'm', ARGV[3], 'n', ARGV[5], 'u', deadline }
    if ARGV[4] ~= '' then fields[#fields + 1], fields[#fields + 2] = 'd', ARGV[4] end
    id = redis.call('XADD', frames, '*', unpack(fields))
    redis.call('ZADD', open, deadline, id)
    redis.call('INCRBY', bytes, charged)
end
reply[1], reply[2] = status, id
return reply
