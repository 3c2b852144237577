#!lua flags=allow-oom
-- Puts a key aside that a plain command found to be of another kind.
-- KEYS  1 key
-- ARGV  1 kind that it should be of
-- Returns 1 if it was put aside, 0 if somebody else had done so.
--include mend
return put_aside(KEYS[1], ARGV[1]) and 1 or 0
