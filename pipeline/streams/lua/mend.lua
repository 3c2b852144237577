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

local function mend_books(frames, open, bytes, results, counts)
    put_aside(frames, 'stream')
    put_aside(results, 'stream')
    if put_aside(open, 'zset') then register_anew(frames, open) end
    put_aside(bytes, 'string')
    if not string.find(redis.call('GET', bytes) or '0', '^-?%d+$') then
        redis.call('RENAME', bytes, bytes .. ':damaged')
    end
    if put_aside(counts, 'hash') then
        -- the numbers of the verdicts go on from the last one
        local newest = redis.call('XREVRANGE', results, '+', '-', 'COUNT', 1)[1]
        local number = newest and tonumber(field_of(newest, 'n'))
        if number then redis.call('HSET', counts, 'LOST', string.format('%.0f', number)) end
    end
end

-- Nothing is charged once nothing is open: what a damaged sum got wrong is right again then.
local function settle_bytes(open, bytes)
    if redis.call('EXISTS', open) == 0 then redis.call('DEL', bytes) end
end
