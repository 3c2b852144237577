#!lua
-- Adds a label, unless the very same one is there already: a sender that lost the answer repeats it.
-- KEYS  1 labels  2 the mark of this label
-- ARGV  1 label, packed  2 labels kept  3 seconds for which the mark stays
-- Returns its id in the stream, of the first arrival.
--include mend
put_aside(KEYS[1], 'stream')
put_aside(KEYS[2], 'string')
local first = redis.call('GET', KEYS[2])
if first then return first end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'l', ARGV[1])
redis.call('SET', KEYS[2], id, 'EX', ARGV[3])
return id
