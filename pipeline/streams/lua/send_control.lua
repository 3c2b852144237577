#!lua flags=allow-oom
-- Sends a message to all workers. It may run when Redis is out of memory: a line that is full must
-- still be paused, and its thresholds changed.
-- KEYS  1 control
-- ARGV  1 message, packed  2 messages kept
-- Returns its id.
--include mend
put_aside(KEYS[1], 'stream')
return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'c', ARGV[1])
