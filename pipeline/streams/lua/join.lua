#!lua flags=allow-oom
-- Makes a program's group where it has none, and says up to where the program has read.
-- KEYS  1 results  2 programs  3 counts
-- ARGV  1 program  2 where a new one starts: '0' the oldest verdict kept, '$' the next new one
-- Returns {result id, number} of the last verdict delivered; the number is '' where nobody knows.
--include mend
local results, programs, counts = KEYS[1], KEYS[2], KEYS[3]
put_aside(results, 'stream')
put_aside(programs, 'hash')
put_aside(counts, 'hash')

local function fields_of(entry)
    local fields = {}
    for index = 1, #entry[2], 2 do fields[entry[2][index]] = entry[2][index + 1] end
    return fields
end

local function flat(reply)
    local named = {}
    for index = 1, #reply, 2 do named[reply[index]] = reply[index + 1] end
    return named
end

local function delivered()
    if redis.call('EXISTS', results) == 0 then return nil end
    for _, reply in ipairs(redis.call('XINFO', 'GROUPS', results)) do
        local group = flat(reply)
        if group['name'] == ARGV[1] then return group['last-delivered-id'] end
    end
    return nil
end

local function published()
    local number = 0
    for _, count in ipairs(redis.call('HVALS', counts)) do
        number = number + (tonumber(count) or 0)
    end
    return string.format('%.0f', number)
end

local function keep(id, number)
    redis.call('HSET', programs, ARGV[1], id .. ' ' .. number)
    return { id, number }
end

local id = delivered()
if not id then
    redis.call('XGROUP', 'CREATE', results, ARGV[1], ARGV[2], 'MKSTREAM')
    if ARGV[2] == '$' then
        return keep(flat(redis.call('XINFO', 'STREAM', results))['last-generated-id'], published())
    end
    local oldest = redis.call('XRANGE', results, '-', '+', 'COUNT', 1)[1]
    local number = oldest and tonumber(fields_of(oldest)['n'])
    if number then return keep('0-0', string.format('%.0f', number - 1)) end
    number = math.max(0, tonumber(published()) - redis.call('XLEN', results))
    return keep('0-0', string.format('%.0f', number))
end
local kept = redis.call('HGET', programs, ARGV[1])
if kept then
    local found, number = string.match(kept, '^(%S+) (%d*)$')
    if found then return { found, number } end
end
if id == '0-0' then return { id, '0' } end -- made by hand, it asked for all
local entry = redis.call('XRANGE', results, id, id)[1]
return { id, entry and fields_of(entry)['n'] or '' }
