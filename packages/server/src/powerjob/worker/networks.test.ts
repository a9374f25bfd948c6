// Promises of the places of Java workers: only what can be one is taken, and nobody reaches further than that.
import { describe, expect, it } from 'vitest'
import { admitting, flawOfNetworks, mayBeAt, plainPeer, readAddress, type Origin } from './networks.ts'

const from = (peer: string, mine: readonly string[] = []): Origin => ({ peer, isMine: (host) => mine.includes(host) })

describe('an address of a worker', () => {
  it.each([
    ['10.0.0.7:27777', { host: '10.0.0.7', port: 27_777 }],
    ['worker-7.example:1', { host: 'worker-7.example', port: 1 }],
  ])('%s is read', (text, read) => {
    expect(readAddress(text)).toEqual(read)
  })
  it.each([
    '',
    '10.0.0.7',
    '10.0.0.7:0',
    '10.0.0.7:65536',
    '10.0.0:1',
    '1.2.3.4.5:1',
    '[::1]:1',
    'a b:1',
    'http://a:1',
    'a:1/x',
    '-:1',
    '10.0.0.7:27777 ',
  ])('%j is none', (text) => {
    expect(readAddress(text)).toBeUndefined()
  })
})

describe('networks', () => {
  it('say what is wrong with them', () => {
    expect(flawOfNetworks(['10.0.0.0/8', '10.1.2.3', 'fd00::/8', 'worker-7', '0.0.0.0/0'])).toBeUndefined()
    for (const wrong of ['10.0.0.0/33', '10.0.0/8', '10.0.0.0/8/9', 'fd00::/129', '10.0.0.0/', 'a/8', '', '*'])
      expect(flawOfNetworks([wrong]), wrong).toContain('is none')
    expect(flawOfNetworks(Array.from({ length: 101 }, () => '10.0.0.1'))).toContain('more than 100')
  })
  it('admit what is in them and nothing else', () => {
    const admits = admitting(['10.1.0.0/16', '192.168.7.7', 'worker-7.example'])
    for (const inside of ['10.1.0.0', '10.1.255.255', '192.168.7.7', 'worker-7.example', 'WORKER-7.example'])
      expect(admits(inside), inside).toBe(true)
    for (const outside of ['10.2.0.0', '192.168.7.8', 'worker-8.example', 'x.worker-7.example', '::ffff:8.8.8.8', ''])
      expect(admits(outside), outside).toBe(false)
  })
})

describe('a worker may be', () => {
  it('where it is seen, however the socket writes that', () => {
    expect(mayBeAt('10.0.0.7', from('10.0.0.7'), undefined)).toBe(true)
    expect(mayBeAt('10.0.0.7', from('::ffff:10.0.0.7'), undefined)).toBe(true)
    expect(plainPeer('::ffff:10.0.0.7')).toBe('10.0.0.7')
  })
  it('anywhere on this machine when it comes over loopback, and not elsewhere', () => {
    expect(mayBeAt('127.0.0.1', from('::1'), undefined)).toBe(true)
    expect(mayBeAt('192.168.1.5', from('127.0.0.1', ['192.168.1.5']), undefined)).toBe(true)
    expect(mayBeAt('192.168.1.6', from('127.0.0.1', ['192.168.1.5']), undefined)).toBe(false)
    // a name is not of this machine because it looks so
    expect(mayBeAt('127.0.0.1.example', from('127.0.0.1'), undefined)).toBe(false)
    expect(mayBeAt('localhost', from('127.0.0.1'), undefined)).toBe(false)
  })
  it('nowhere else unless its network is named: not at another private address, not at loopback, not at a link-local one', () => {
    for (const host of ['10.0.0.8', '127.0.0.1', '169.254.169.254', '8.8.8.8', 'localhost'])
      expect(mayBeAt(host, from('10.0.0.7', ['10.0.0.8']), undefined), host).toBe(false)
    expect(mayBeAt('10.0.0.8', from('10.0.0.7'), admitting(['10.0.0.0/24']))).toBe(true)
  })
  it('in the networks that are named and nowhere else then, not even where it is seen', () => {
    const named = admitting(['10.42.0.0/16', 'worker-7', '172.17.0.1', 'fd00::/8'])
    expect(mayBeAt('10.42.0.7', from('10.42.0.7'), named)).toBe(true)
    expect(mayBeAt('10.0.0.7', from('10.0.0.7'), named)).toBe(false)
    expect(mayBeAt('127.0.0.1', from('127.0.0.1'), named)).toBe(false)
    // translated on the way: by a named gateway, or on this machine
    for (const gateway of ['172.17.0.1', '::ffff:172.17.0.1', 'fd00::1', '127.0.0.6', '::1'])
      expect(mayBeAt('10.42.0.7', from(gateway), named), gateway).toBe(true)
    expect(mayBeAt('worker-7', from('10.42.0.7'), named)).toBe(true)
    // nobody else reaches the loopback of this machine, whatever is named
    const all = admitting(['0.0.0.0/0'])
    expect(mayBeAt('127.0.0.1', from('10.42.0.7'), all)).toBe(false)
    expect(mayBeAt('127.0.0.1', from('10.42.0.7', ['10.42.0.7']), all)).toBe(true)
    // nobody outside speaks of a worker inside
    for (const stranger of ['10.0.0.7', '192.168.7.7', 'fe80::1%eth0', '2001:db8::1', ''])
      expect(mayBeAt('10.42.0.7', from(stranger), named), stranger).toBe(false)
  })
})
