-- Puts keys of another kind aside, so that a damaged book stops no part; other scripts include it.
-- What was there is kept as KEY:damaged, for a person to look at.
local function put_aside(key, kind)
    local found = redis.call('TYPE', key)['ok']
    if found == kind or found == 'none' then return false end
    redis.call('RENAME', key, key .. ':damaged')
    return true
end

local function field_of(entry, name)
    for index = 1, #entry[2], 2 do
        if entry[2][index] == name then return entry[2][index + 1] end
    end
    return nil
end

-- The register, made anew from the frames: each that was answered has left the stream.
local function register_anew(frames, open)
    local after = '-'
    while true do
        local page = redis.call('XRANGE', frames, after, '+', 'COUNT', 64)
        if #page == 0 then return end
        for _, entry in ipairs(page) do
            redis.call('ZADD', open, tonumber(field_of(entry, 'u')) or 0, entry[1])
            after = '(' .. entry[1]
        end
    end
end

local function is_integer(text, digits)
    return #text <= digits and string.find(text, '^-?%d+$') ~= nil
end

-- What a frame is charged, as its entry says; nothing where that is no number.
local function charge_of(entry_text)
    return entry_text and #entry_text <= 15 and string.find(entry_text, '^%d+$') and entry_text
        or '0'
end

-- What the frames that are open are charged, counted anew.
local function bytes_anew(frames, open, bytes)
    local after = '-'
    while true do
        local page = redis.call('XRANGE', frames, after, '+', 'COUNT', 64)
        if #page == 0 then return end
        for _, entry in ipairs(page) do
            if redis.call('ZSCORE', open, entry[1]) then
                redis.call('INCRBY', bytes, charge_of(field_of(entry, 'n')))
            end
            after = '(' .. entry[1]
        end
    end
end

-- Leaves out the fields of a hash that are no numbers though they must be; a copy is put aside.
local function mend_fields(key, fields, digits)
    local mended = false
    for _, field in ipairs(fields) do
        local value = redis.call('HGET', key, field)
        if value and not is_integer(value, digits) then
            if not mended then redis.call('COPY', key, key .. ':damaged', 'REPLACE') end
            mended = true
            redis.call('HDEL', key, field)
        end
    end
    return mended
end

-- The numbers of the verdicts go on from the last one; what no answer counts any more is LOST.
local function counts_anew(results, counts)
    local newest = redis.call('XREVRANGE', results, '+', '-', 'COUNT', 1)[1]
    local number = newest and tonumber(charge_of(field_of(newest, 'n'))) or 0
    for _, count in ipairs(redis.call('HVALS', counts)) do number = number - tonumber(count) end
    if number > 0 then redis.call('HINCRBY', counts, 'LOST', string.format('%.0f', number)) end
end

-- A camera whose fields are damaged goes on: its run of seqs begins anew with the last one.
local function mend_camera(camera)
    put_aside(camera, 'hash')
    mend_fields(camera, { 'from', 'offered', 'lost', 'rolled' }, 19)
    local last = redis.call('HGET', camera, 'last')
    if last and redis.call('HEXISTS', camera, 'from') == 0 then
        redis.call('HSET', camera, 'from', last)
    end
end

local function mend_books(frames, open, bytes, results, counts)
    local without_frames = put_aside(frames, 'stream')
    put_aside(results, 'stream')
    if put_aside(open, 'zset') then register_anew(frames, open) end
    local miscounted = put_aside(bytes, 'string')
    if not is_integer(redis.call('GET', bytes) or '0', 18) then
        redis.call('RENAME', bytes, bytes .. ':damaged')
        miscounted = true
    end
    if without_frames then redis.call('DEL', bytes) end -- what is gone is charged no longer
    if miscounted then bytes_anew(frames, open, bytes) end
    local overwritten = put_aside(counts, 'hash')
    if mend_fields(counts, redis.call('HKEYS', counts), 18) or overwritten then
        counts_anew(results, counts)
    end
end

-- Nothing is charged once nothing is open: what a damaged sum got wrong is right again then.
local function settle_bytes(open, bytes)
    if redis.call('EXISTS', open) == 0 then redis.call('DEL', bytes) end
end
