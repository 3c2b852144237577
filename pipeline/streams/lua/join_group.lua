#!lua flags=allow-oom
-- Makes a stream, its group and a consumer of it, each where it is missing.
-- It may run when Redis is out of memory: a full server is emptied by those who join it.
-- KEYS  1 stream  2 bytes charged by its entries
-- ARGV  1 group  2 where the group begins, '0' or '$'  3 consumer, '' for none
--include mend
if put_aside(KEYS[1], 'stream') then redis.call('DEL', KEYS[2]) end -- they are gone with it
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[2], 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then return made end
if ARGV[3] ~= '' then
    -- before version 7.2 a consumer that reads nothing is in no list: nobody would know of it
    redis.call('XGROUP', 'CREATECONSUMER', KEYS[1], ARGV[1], ARGV[3])
end
return 1
