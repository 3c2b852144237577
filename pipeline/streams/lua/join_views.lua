#!lua flags=allow-oom
-- Joins verdicts of views into parts, and publishes each part that is decided by them.
-- It may run when Redis is out of memory: what it keeps is bounded, and gates wait for it.
-- KEYS  1 open  2 parts  3 views  4 closed  5 books  6 results  7 counts  8 positions  9 after
-- ARGV  1 results kept  2 the plan: by, window in ms, 'latest' or 'first' (which view's deadline a
--       part has), deadline in ms or '-', expected views with commas; the same for all joiners
--       then for each verdict, in the order of its view's stream:
--       view, result id, its number ('' from an earlier release), key ('' where the frame is not
--       known), captured ms, deadline ms on this server's clock, answer, reason, entry id, camera,
--       seq, head of the part up to its seq, which is its last field, the seq packed ('' to use
--       the part's own number), judgement ('' where there is none)
-- Returns for each verdict what became of it:
--   again: joined before | nameless | joined: the part waits for more | the answer published
--   after: its part was decided before | forgotten: too old to tell whether it was
--include part
local station = { open = KEYS[1], parts = KEYS[2], views = KEYS[3], closed = KEYS[4],
    books = KEYS[5], results = KEYS[6], counts = KEYS[7], positions = KEYS[8], after = KEYS[9],
    kept = ARGV[1] }
local plan = read_plan(station, ARGV[2])
if not plan then return redis.error_reply(OTHER_PLAN) end
local names, window_ms = plan.names, plan.window_ms
local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + tonumber(now[2]) / 1000

local function is_newer(id, than)
    local ms, number = string.match(id, '^(%d+)-(%d+)$')
    local old_ms, old_number = string.match(than, '^(%d+)-(%d+)$')
    if not old_ms then return true end
    if ms ~= old_ms then return tonumber(ms) > tonumber(old_ms) end
    return tonumber(number) > tonumber(old_number)
end

-- Moves a view's position, and counts the verdicts that were dropped before anybody read them.
local function advance(view, id, number)
    local position = redis.call('HGET', station.positions, view) or ''
    local last, last_number = string.match(position, '^(%S+) ?(%d*)$')
    if last and not is_newer(id, last) then return false end
    if number ~= '' and last_number and last_number ~= '' then
        local missed = tonumber(number) - tonumber(last_number) - 1
        if missed > 0 then redis.call('HINCRBY', station.books, 'missed', missed) end
    end
    redis.call('HSET', station.positions, view, id .. ' ' .. number)
    return true
end

local function note_after(what, view, entry, pass)
    redis.call('HINCRBY', station.books, what, 1)
    redis.call('XADD', station.after, 'MAXLEN', '~', AFTER_KEPT, '*', 'what', what, 'view', view,
        'entry', entry, 'pass', pass)
    return what
end

-- Returns the pass that a view belongs to, opened where it is the first, or nil where that is
-- no longer known.
local function pass_of(key, captured_ms, due_ms, head)
    local known = redis.call('HGET', station.parts, key) or ''
    local oldest_ms
    for number, first_ms in string.gmatch(known, '(%d+) (%d+)') do
        if math.abs(captured_ms - tonumber(first_ms)) <= window_ms then
            return key .. '#' .. number
        end
        oldest_ms = math.min(oldest_ms or math.huge, tonumber(first_ms))
    end
    local forgotten_ms = tonumber(redis.call('HGET', station.books, 'forgotten_ms') or '-1')
    if captured_ms <= forgotten_ms + window_ms then return nil end
    if oldest_ms and captured_ms < oldest_ms then return nil end
    local opened = redis.call('HINCRBY', station.books, 'opened', 1)
    local pass = key .. '#' .. string.format('%.0f', opened)
    redis.call('HSET', station.parts, key, with_pass(known, opened, captured_ms))
    redis.call('ZADD', station.open, due_ms, pass)
    redis.call('ZADD', station.closed, captured_ms, pass)
    redis.call('HSET', station.views, pass .. '/',
        cmsgpack.pack({ head[1], head[2], math.floor(now_ms), opened }))
    forget_passes(station)
    return pass
end

-- Returns the verdict of a part as far as its views decide it, or nil where it waits for more.
local function decide(pass, answer, judgement, head)
    if answer == 'NG' then return { answer = 'NG', reason = '', judgement = judgement, head = head } end
    local unknown
    for _, name in ipairs(names) do
        local one = redis.call('HGET', station.views, pass .. '/' .. name)
        if not one then return nil end
        local view = cmsgpack.unpack(one)
        if view[1] ~= 'OK' and not unknown then unknown = view end
    end
    if unknown then return { answer = unknown[1], reason = unknown[2], head = head } end
    return { answer = 'OK', reason = '', judgement = judgement, head = head }
end

local function join(at)
    local view, id, number, key = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    if not advance(view, id, number) then return 'again' end
    local captured_ms, due_ms = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
    local answer, reason, entry = ARGV[at + 6], ARGV[at + 7], ARGV[at + 8]
    local head, judgement = { ARGV[at + 11], ARGV[at + 12] }, ARGV[at + 13]
    if key == '' then return note_after('nameless', view, entry, '') end
    local pass = pass_of(key, captured_ms, due_ms, head)
    if not pass then return note_after('forgotten', view, entry, '') end
    local registered = redis.call('ZSCORE', station.open, pass)
    if not registered then return note_after('after', view, entry, pass) end
    local field = pass .. '/' .. view
    local before = redis.call('HGET', station.views, field)
    if before then -- the worse of the two counts
        if answer == 'OK' then return note_after('repeated', view, entry, pass) end
        note_after('repeated', view, cmsgpack.unpack(before)[3], pass)
    end
    redis.call('HSET', station.views, field,
        cmsgpack.pack({ answer, reason, entry, ARGV[at + 9], ARGV[at + 10] }))
    if not before then redis.call('HINCRBY', station.books, 'joined', 1) end
    if plan.policy == 'latest' and due_ms > tonumber(registered) then
        redis.call('ZADD', station.open, due_ms, pass)
    end
    local verdict = decide(pass, answer, judgement, head)
    if not verdict then return 'joined' end
    return close_part(station, pass, names, now_ms, verdict) or 'joined'
end

local became = {}
for at = 3, #ARGV, 14 do became[#became + 1] = join(at) end
return became
