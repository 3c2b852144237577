-- Adds a verdict to the stream under its number, which is returned; other scripts include it.
-- The number counts all verdicts that a line ever published, so a reader that sees it jump knows
-- how many it missed.
-- `due` is the deadline that came with the frame, '' or nil from a camera of an earlier release.
local function publish(results, counts, kept, now_ms, due, fields)
    redis.call('HINCRBY', counts, fields[2], 1)
    local number = 0
    for _, count in ipairs(redis.call('HVALS', counts)) do
        number = number + (tonumber(count) or 0)
    end
    local entry = { 'n', string.format('%.0f', number),
        't', string.format('%.0f', math.floor(now_ms)) }
    if due and due ~= '' then entry[5], entry[6] = 'u', due end
    for _, word in ipairs(entry) do fields[#fields + 1] = word end
    redis.call('XADD', results, 'MAXLEN', '~', kept, '*', unpack(fields))
    return number
end
