#!lua flags=allow-oom
-- Says that a worker lives. It may run when Redis is out of memory: a worker whose heartbeat is
-- refused counts as dead, though it is what empties a full server.
-- KEYS  1 worker
-- ARGV  1 report  2 how long it lasts, ms
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
