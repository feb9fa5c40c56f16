"""What is done in Redis, each all at once (Lua; docs/protocol.md 4.3). Pure.

Each begins with EPOCH. Redis's own clock is the only one; times are milliseconds. KEYS[1] is what
all keys begin with, so one Redis (or one that follows it) is needed, not a Redis Cluster.

An epoch is one run of one Redis with the data that it has: after a restart, a failover, a flush,
what it knows may be old, or nothing. Then leases of nodes are void until their nodes say them
again, and for a grace time nobody gets a name that he did not have.
"""

from __future__ import annotations

EPOCH = """
local P = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local epoch = redis.call('HMGET', P .. 'epoch', 'run', 'since')
local since = epoch[2]
if epoch[1] ~= run or not since then
  since = string.format('%.0f', math.max(now, (tonumber(since or '0') or 0) + 1))
  redis.call('HSET', P .. 'epoch', 'run', run, 'since', since)
end
local function record(name)
  local text = redis.call('HGET', P .. 'names', name)
  return text and cjson.decode(text)
end
local function fence()
  return since .. '-' .. redis.call('HINCRBY', P .. 'epoch', 'fence', 1)
end
local function alive(node)
  local text = node ~= '' and redis.call('HGET', P .. 'nodes', node)
  return text and cjson.decode(text)['until'] > now
end
local function placed(r)
  return r.n ~= '' and string.sub(r.f, 1, #since + 1) == since .. '-' and alive(r.n)
end
local function version()
  local last = tonumber(redis.call('HGET', P .. 'epoch', 'version') or '0')
  local v = string.format('%.0f', math.max(time[1] * 1000000 + time[2], last + 1))
  redis.call('HSET', P .. 'epoch', 'version', v)
  return v
end
local function put(name, r, held)
  r.v = version()
  local text = cjson.encode(r)
  redis.call('HSET', P .. 'names', name, text)
  redis.call('ZADD', P .. 'until', string.format('%.0f', r.u + held), name)
  redis.call('PUBLISH', P .. 'changes', '{"name":"' .. name .. '","record":' .. text .. '}')
  return text
end
"""

# node, what it says of itself, TTL, home -> since, age of the epoch, living nodes, revisions
BEAT = """
local node, info, ttl, home = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
redis.call('HSET', P .. 'nodes', node,
  cjson.encode({['until'] = now + ttl, info = info, home = home}))
local living = {}
local all = redis.call('HGETALL', P .. 'nodes')
for i = 1, #all, 2 do
  local each = cjson.decode(all[i + 1])
  if all[i] ~= node and (each.home == home or each['until'] < now - 10 * ttl) then
    redis.call('HDEL', P .. 'nodes', all[i])
  elseif each['until'] > now then
    table.insert(living, each.info)
  end
end
return {since, string.format('%.0f', now - since), living, redis.call('HGETALL', P .. 'revisions')}
"""

# node
LEAVE = """
redis.call('HDEL', P .. 'nodes', ARGV[1])
redis.call('PUBLISH', P .. 'changes', '{"topic":"nodes"}')
"""

# node, key, lasts, route, http, passthrough, account, token, shares, held, grace, drawn, by right,
# names...
CLAIM = """
local node, key, lasts, route = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local account, token, shares = ARGV[7], ARGV[8], tonumber(ARGV[9])
local held, grace, drawn = tonumber(ARGV[10]), tonumber(ARGV[11]), ARGV[12] == '1'
local by_right = ARGV[13] == '1'
if not alive(node) then return {'stale'} end
local before, holder = '', route ~= '' and redis.call('HGET', P .. 'routes', route)
if holder then
  local r = record(holder)
  if r and r.k ~= key and r.u + held >= now then return {'route-taken'} end
  if r and r.k == key then before = holder end
end
local name, old
for i = 14, #ARGV do
  local r = record(ARGV[i])
  local over = not r or r.u + held < now
  local own = r and r.k == key and (r.a == account or r.a == '0' or account == '0')
  -- A drawn one may have been given before, to the same wish: the answer was lost.
  if (drawn and (not r or own and r.r == route)) or (not drawn and (over or own or by_right)) then
    if over and now - since < grace then return {'grace'} end
    name, old = ARGV[i], r
    break
  end
end
if not name then return {drawn and 'full' or 'name-taken'} end
-- Nearly always it has fewer: thousands are not looked through for each that registers.
if shares >= 0 and redis.call('SCARD', P .. 'token:' .. token) >= shares then
  local others, renames = 0, 0
  for _, other in ipairs(redis.call('SMEMBERS', P .. 'token:' .. token)) do
    local r = record(other)
    if not r or r.t ~= token then
      redis.call('SREM', P .. 'token:' .. token, other)
    elseif other ~= name and placed(r) then
      others = others + 1
      if r.k == key then renames = 1 end
    end
  end
  if others - renames >= shares then return {'quota'} end
end
if old and old.r ~= route and redis.call('HGET', P .. 'routes', old.r) == name then
  redis.call('HDEL', P .. 'routes', old.r)
end
local new = {k = key, a = account, u = now + lasts, r = route, h = ARGV[5] == '1',
  p = ARGV[6] == '1', g = 0, n = node, f = fence(), t = token, b = '', v = '', w = ''}
if before ~= name then new.b = before end
new.g = math.max(new.h and new.u or 0, old and math.min(old.g, now) or 0)
if route ~= '' then redis.call('HSET', P .. 'routes', route, name) end
if token ~= '' then redis.call('SADD', P .. 'token:' .. token, name) end
return {'ok', name, put(name, new, held)}
"""

# held, then for each: name, fence, what (extend, end, leave), lasts -> for each, ok or fenced
CHANGE = """
local held, answers = tonumber(ARGV[1]), {}
local function change(name, fence, what, lasts)
  local r = record(name)
  if not r or r.f ~= fence or r.n == '' then return 'fenced' end
  if what == 'extend' then
    r.u = now + lasts
    if r.h then r.g = r.u end
  else
    if what == 'end' then
      r.u = math.min(r.u, now)
      r.g = math.min(r.g, now)
    end
    if r.t ~= '' then redis.call('SREM', P .. 'token:' .. r.t, name) end
    r.n, r.f, r.w = '', '', ''
    local b = r.b ~= '' and record(r.b)
    if b and b.k == r.k and b.r == r.r and b.u > now and
        redis.call('HGET', P .. 'routes', r.r) == name then
      redis.call('HSET', P .. 'routes', r.r, r.b)
      put(r.b, b, held)
    end
    r.b = ''
  end
  put(name, r, held)
  return 'ok'
end
for i = 2, #ARGV, 4 do
  table.insert(answers, change(ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])))
end
return answers
"""

# node, held, then for each: name, record as it was known, whether its share is at this node
ASSERT = """
local node, held, answers = ARGV[1], tonumber(ARGV[2]), {}
local function later(a, b)
  local function parts(f)
    local e, c = string.match(f, '^(%d+)-(%d+)$')
    return tonumber(e or '0'), tonumber(c or '0')
  end
  local ae, ac = parts(a)
  local be, bc = parts(b)
  return ae > be or (ae == be and ac > bc)
end
for i = 3, #ARGV, 3 do
  local name, mine, here = ARGV[i], cjson.decode(ARGV[i + 1]), ARGV[i + 2] == '1'
  local r = record(name)
  local answer = ''
  local taken = r and placed(r) and r.n ~= node
  if taken and not (here and r.k == mine.k and r.w ~= '' and later(mine.f, r.w)) then
    answer = 'lost'
  elseif r and r.k ~= mine.k and r.u + held >= now and r.v >= mine.v then
    answer = 'lost'
  elseif here then
    if r and placed(r) and r.n == node and r.f == mine.f then
      answer = r.f
    else
      mine.n, mine.w, mine.f = node, mine.f, fence()
      answer = mine.f
      if mine.r ~= '' then redis.call('HSET', P .. 'routes', mine.r, name) end
      if mine.t ~= '' then redis.call('SADD', P .. 'token:' .. mine.t, name) end
      put(name, mine, held)
    end
  elseif (not r or r.v < mine.v) and mine.u + held >= now then
    mine.n, mine.f, mine.w = '', '', ''
    if mine.r ~= '' then redis.call('HSETNX', P .. 'routes', mine.r, name) end
    put(name, mine, held)
  end
  table.insert(answers, answer)
end
return answers
"""

# most
FORGET = """
local old = redis.call('ZRANGEBYSCORE', P .. 'until', '-inf', string.format('(%.0f', now),
  'LIMIT', 0, tonumber(ARGV[1]))
if now - since < tonumber(ARGV[2]) then return 0 end
for _, name in ipairs(old) do
  local r = record(name)
  if r and redis.call('HGET', P .. 'routes', r.r) == name then
    redis.call('HDEL', P .. 'routes', r.r)
  end
  if r and r.t ~= '' then redis.call('SREM', P .. 'token:' .. r.t, name) end
  redis.call('HDEL', P .. 'names', name)
  redis.call('ZREM', P .. 'until', name)
end
return #old
"""

# topic, home, text
POST = """
redis.call('HSET', P .. 'notices:' .. ARGV[1], ARGV[2], ARGV[3])
redis.call('HINCRBY', P .. 'revisions', ARGV[1], 1)
redis.call('PUBLISH', P .. 'changes', '{"topic":"' .. ARGV[1] .. '"}')
"""
