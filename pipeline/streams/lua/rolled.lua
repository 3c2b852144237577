-- Marks seqs of a camera that were admitted and that this server has forgotten; others include it.
-- They are those above `after` ('-1' for all), up to `last`. Who marks the same loss again, before
-- the camera goes on, makes the mark longer where it must be.

local function is_less(one, other)
    if #one ~= #other then return #one < #other end
    return one < other
end

local function marked_until(rolled, after)
    local low, high = string.match(redis.call('LINDEX', rolled, -1) or '', '^(-?%d+):(%d+)$')
    return low == after and high or nil
end

local function mark_rolled(rolled, camera, after, last, kept)
    local from = after == '-1' and 1 or (after == '0' and '0' or '-' .. after)
    local high = marked_until(rolled, after)
    if high then
        if not is_less(high, last) then return end
        redis.call('LSET', rolled, -1, after .. ':' .. last)
        from = high == '0' and '0' or '-' .. high
    else
        redis.call('RPUSH', rolled, after .. ':' .. last)
        redis.call('LTRIM', rolled, -tonumber(kept), -1)
    end
    redis.call('HINCRBY', camera, 'rolled', last)
    redis.call('HINCRBY', camera, 'rolled', from)
end
