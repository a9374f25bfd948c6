// The Lua scripts of the Redis store. Redis runs each as one step, so that nothing comes between reading and writing.
import { createHash } from 'node:crypto'

export interface RedisScript {
  readonly text: string
  readonly sha1: string
}

const script = (text: string): RedisScript => ({ text, sha1: createHash('sha1').update(text).digest('hex') })

// The first argument of every script is the time for tests, empty in production: Redis' own clock judges.
const clock = `
local now
if ARGV[1] ~= '' then now = tonumber(ARGV[1]) else local t = redis.call('TIME') now = t[1] * 1000 + math.floor(t[2] / 1000) end`

/** KEYS record, recent, unused · ARGV now, bind, ttlMs, perMinute, outstanding, windowMs, id */
export const issueScript = script(`${clock}
local window = tonumber(ARGV[6])
if redis.call('EXISTS', KEYS[1]) == 1 then return {'exists'} end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - window)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) then
  local oldest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  return {'limited', 'perMinute', tostring(tonumber(oldest[2]) + window - now)}
end
if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[5]) then
  local oldest = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
  return {'limited', 'outstanding', tostring(tonumber(oldest[2]) - now)}
end
local ends = now + tonumber(ARGV[3])
redis.call('HSET', KEYS[1], 'issued', '1', 'bind', ARGV[2], 'state', 'new', 'ends', string.format('%.0f', ends))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], now, ARGV[7])
redis.call('PEXPIRE', KEYS[2], window)
redis.call('ZADD', KEYS[3], ends, ARGV[7])
if redis.call('PTTL', KEYS[3]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[3], ARGV[3]) end
return {'issued', string.format('%.0f', ends)}`)

/** KEYS record, unused · ARGV now, bind, owner, fingerprint, leaseMs, takeOver, createTtlMs or '', to, requestId, id */
export const claimScript = script(`${clock}
local v = redis.call('HMGET', KEYS[1], 'bind', 'state', 'lease', 'fingerprint', 'ends', 'request', 'status', 'answer')
local absent = not v[1]
if ARGV[7] ~= '' and (absent or tonumber(v[5]) <= now) then
  redis.call('DEL', KEYS[1])
  v = {ARGV[2], 'new', false, false, string.format('%.0f', now + tonumber(ARGV[7]))}
  redis.call('HSET', KEYS[1], 'issued', '0', 'bind', v[1], 'ends', v[5])
  redis.call('PEXPIRE', KEYS[1], ARGV[7])
  absent = false
end
if absent then return {'absent'} end
if v[1] ~= ARGV[2] then return {'mismatch'} end
if tonumber(v[5]) <= now then return {'expired'} end
if v[2] ~= 'new' and v[4] ~= ARGV[4] then return {'reused', v[6] or '', v[4], v[5]} end
if v[2] == 'done' then return {'done', v[6] or '', v[4], v[5], v[7] or '', v[8] or ''} end
if v[2] == 'claimed' and not (ARGV[6] == '1' and tonumber(v[3]) <= now) then return {'busy', v[6] or '', v[4], v[5]} end
redis.call('HSET', KEYS[1], 'state', ARGV[8], 'owner', ARGV[3], 'fingerprint', ARGV[4],
  'lease', string.format('%.0f', now + tonumber(ARGV[5])), 'request', ARGV[9])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[5]) then redis.call('PEXPIRE', KEYS[1], ARGV[5]) end
redis.call('ZREM', KEYS[2], ARGV[10])
return {'claimed', v[5], v[2] == 'claimed' and '1' or '0'}`)

const onlyOwner = (owner: string): string => `
local v = redis.call('HMGET', KEYS[1], 'owner', 'state', 'ends', 'issued')
if v[1] ~= ${owner} or v[2] ~= 'claimed' then return {'stale'} end`

/** KEYS record · ARGV now, owner, status, answer or '', ttlMs */
export const completeScript = script(`${clock}${onlyOwner('ARGV[2]')}
redis.call('HSET', KEYS[1], 'state', 'done', 'status', ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'answer', ARGV[4]) end
local ends = now + tonumber(ARGV[5])
if ends > tonumber(v[3]) then redis.call('HSET', KEYS[1], 'ends', string.format('%.0f', ends)) end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[5]) then redis.call('PEXPIRE', KEYS[1], ARGV[5]) end
return {'done'}`)

/** KEYS record, unused · ARGV now, owner, id */
export const releaseScript = script(`${clock}${onlyOwner('ARGV[2]')}
if v[4] == '1' then
  redis.call('HDEL', KEYS[1], 'owner', 'lease', 'fingerprint', 'request')
  redis.call('HSET', KEYS[1], 'state', 'new')
  redis.call('ZADD', KEYS[2], v[3], ARGV[3])
  local left = redis.call('PTTL', KEYS[1])
  if redis.call('PTTL', KEYS[2]) < left then redis.call('PEXPIRE', KEYS[2], left) end
else
  redis.call('DEL', KEYS[1])
end
return {'released'}`)

/** KEYS record · ARGV now, owner, leaseMs */
export const extendScript = script(`${clock}${onlyOwner('ARGV[2]')}
redis.call('HSET', KEYS[1], 'lease', string.format('%.0f', now + tonumber(ARGV[3])))
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return {'extended'}`)

/** KEYS record · ARGV now */
export const readScript = script(`${clock}
local v = redis.call('HMGET', KEYS[1], 'state', 'ends', 'request', 'status', 'answer')
if not v[1] or tonumber(v[2]) <= now then return {'absent'} end
return {v[1], v[2], v[3] or '', v[4] or '', v[5] or ''}`)
