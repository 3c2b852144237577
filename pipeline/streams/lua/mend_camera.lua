#!lua flags=allow-oom
-- Puts the books of one camera aside that are of another kind, before it offers anything.
-- KEYS  1 cameras  2 camera  3 runs  4 rolled  5 holder
-- Returns the keys that it put aside.
--include mend
local kinds = { 'set', 'hash', 'list', 'list', 'string' }
local aside = {}
for at, kind in ipairs(kinds) do
    if put_aside(KEYS[at], kind) then aside[#aside + 1] = KEYS[at] end
end
return aside
