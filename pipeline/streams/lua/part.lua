-- Closes a part: who removes its pass from the register publishes its verdict; scripts include it.
-- A pass is a key (trigger number or part id) at one time. `views` holds of each open pass
--   PASS/       head up to its seq, seq packed or '', opened ms, number
--   PASS/VIEW   answer, reason, entry id, camera, seq
--include publish
local PASSES_KEPT = 100000
local AFTER_KEPT = 100000
local PASSES_OF_KEY = 4 -- the latest passes of one key that are told apart
local OTHER_PLAN = 'OTHERPLAN the station is joined by another plan'

-- Reads the plan of a joiner; nil where the station has another one.
local function read_plan(station, text)
    if redis.call('HGET', station.books, 'plan') ~= text then return nil end
    local window, policy, views = string.match(text, '^%S+ (%d+) (%S+) %S+ (%S+)$')
    local names = {}
    for name in string.gmatch(views, '[^,]+') do names[#names + 1] = name end
    return { window_ms = tonumber(window), policy = policy, names = names }
end

-- Adds a pass to the latest ones of a key: 'NUMBER CAPTURED_MS ...', oldest first.
local function with_pass(known, number, captured_ms)
    local passes = {}
    for one in string.gmatch(known, '%d+ %d+') do passes[#passes + 1] = one end
    passes[#passes + 1] = string.format('%.0f %.0f', number, captured_ms)
    while #passes > PASSES_OF_KEY do table.remove(passes, 1) end
    return table.concat(passes, ' ')
end

local function packed_seq(number) return string.char(0xcf) .. struct.pack('>I8', number) end

local function close_part(station, pass, names, now_ms, verdict)
    local due = redis.call('ZSCORE', station.open, pass)
    if not due or redis.call('ZREM', station.open, pass) == 0 then return nil end
    local opened = cmsgpack.unpack(redis.call('HGET', station.views, pass .. '/'))
    local said, fields = {}, { pass .. '/' }
    for _, name in ipairs(names) do
        local field = pass .. '/' .. name
        local one = redis.call('HGET', station.views, field)
        if one then
            local view = cmsgpack.unpack(one)
            table.insert(view, 1, name)
            said[#said + 1] = view
        end
        fields[#fields + 1] = field
    end
    local answer, reason, judgement = verdict.answer, verdict.reason, verdict.judgement
    if now_ms > tonumber(due) and answer ~= 'LATE' then answer, reason = 'LATE', '' end
    local head = verdict.head or opened
    local seq = head[2]
    if seq == '' then seq = packed_seq(opened[4]) end
    local entry = { 'k', answer, 'e', string.format('%.0f-%.0f', opened[3], opened[4]),
        'm', head[1] .. seq, 'w', cmsgpack.pack(said) }
    if judgement and judgement ~= '' then
        entry[#entry + 1], entry[#entry + 2] = 'j', judgement
    end
    if reason ~= '' then entry[#entry + 1], entry[#entry + 2] = 'r', reason end
    publish(station.results, station.counts, station.kept, now_ms, due, entry)
    redis.call('HDEL', station.views, unpack(fields))
    return answer
end

-- Forgets the oldest closed passes, and remembers up to which capture they are forgotten.
local function forget_passes(station)
    local spare = redis.call('ZCARD', station.closed) - PASSES_KEPT
    if spare <= 0 then return end
    local oldest = redis.call('ZRANGE', station.closed, 0, math.min(spare, 64) - 1, 'WITHSCORES')
    for at = 1, #oldest, 2 do
        local pass, captured = oldest[at], oldest[at + 1]
        local key = string.match(pass, '^(.*)#%d+$')
        local known = redis.call('HGET', station.parts, key) or ''
        if string.match(known, '(%d+) %d+$') == string.match(pass, '#(%d+)$') then
            redis.call('HDEL', station.parts, key) -- its latest is forgotten, so are those before
        end
        redis.call('ZREM', station.closed, pass)
        local before = tonumber(redis.call('HGET', station.books, 'forgotten_ms') or '0')
        if tonumber(captured) > before then
            redis.call('HSET', station.books, 'forgotten_ms', captured)
        end
    end
end
