"""What Redis does for the transport by one command each: its scripts, in Lua."""

from typing import Final

# Takes the next message off the first queue that has one, and notes it as kombu does: the message,
# and where it goes if it is given out again.
#
# KEYS: the hash of the unacknowledged, the index of when they were taken, and the lists: of each
# priority, highest first, one for each queue. ARGV: the tag to note it by, the time in seconds
# since 1970, and for each queue the rest of what is noted.
TAKE: Final = """
local queues = #ARGV - 2
for i = 3, #KEYS do
  local message = redis.call('RPOP', KEYS[i])
  if message then
    redis.call('HSET', KEYS[1], ARGV[1], '[' .. message .. ARGV[3 + (i - 3) % queues])
    redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
    return {KEYS[i], message}
  end
end
"""

# Forgets what was noted: it is acknowledged.
#
# KEYS: the hash of the unacknowledged, and their index. ARGV: the tag of the note.
FORGET: Final = """
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
"""

# Sends a message, and rings. A bell that nobody hears in time is silent again by itself.
#
# KEYS: the list, and its queue's bell. ARGV: the message, and how long it rings in milliseconds.
SEND: Final = """
redis.call('LPUSH', KEYS[1], ARGV[1])
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('LPUSH', KEYS[2], '')
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
"""

# Puts aside what was noted. As memory may be full, it gives up some before it wants any.
#
# KEYS: the hash of the unacknowledged, their index, and the list of what was put aside. ARGV: the
# tag of the note, how many of the list are kept, and for how many seconds.
PUT_ASIDE: Final = """
local note = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
if note then
  redis.call('LPUSH', KEYS[3], note)
  redis.call('LTRIM', KEYS[3], 0, ARGV[2] - 1)
  redis.call('EXPIRE', KEYS[3], ARGV[3])
end
"""
