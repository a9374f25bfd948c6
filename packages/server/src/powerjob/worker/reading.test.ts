// Promises of what is read of heartbeats: odd numbers of a machine never hide a worker.
import { describe, expect, it } from 'vitest'
import { readHeartbeat } from './reading.ts'
import { readMessage, UnreadableMessage } from './wire.ts'

const beat = (more: string) =>
  readHeartbeat(readMessage(Buffer.from(`{"workerAddress":"10.0.0.7:27777","appId":1${more}}`)))

describe('a heartbeat', () => {
  it('needs an address and an app, and nothing else', () => {
    expect(beat('')).toMatchObject({
      appId: 1,
      appName: null,
      address: '10.0.0.7:27777',
      version: null,
      metrics: null,
      facts: { tag: null, overload: false, lightTasks: 0, heavyTasks: 0, containers: [] },
    })
    expect(beat(',"systemMetrics":null,"containerInfos":null,"tag":null,"version":"UNKNOWN"')).toMatchObject({
      metrics: null,
      version: 'UNKNOWN',
    })
    for (const broken of [
      '{"appId":1}',
      '{"workerAddress":"10.0.0.7:27777"}',
      '{"workerAddress":"[::1]:27777","appId":1}',
    ])
      expect(() => readHeartbeat(readMessage(Buffer.from(broken))), broken).toThrow(UnreadableMessage)
  })
  it("may have metrics of the user's own: partial, as texts, negative, or no numbers at all", () => {
    expect(beat(',"systemMetrics":{}').metrics).toEqual({ cpuCores: 0, cpuLoad: -1, freeMemoryGb: 0, freeDiskGb: 0 })
    expect(
      beat(`,'systemMetrics':{"cpuProcessors":"8","cpuLoad":"-1.0","jvmMaxMemory":4,"jvmUsedMemory":"1.5","score":-3}`)
        .metrics,
    ).toEqual({ cpuCores: 8, cpuLoad: -1, freeMemoryGb: 2.5, freeDiskGb: 0 })
    // so Jackson writes them
    expect(
      beat(
        ',"systemMetrics":{"cpuProcessors":4,"cpuLoad":"NaN","jvmMaxMemory":"Infinity","diskTotal":"-Infinity","score":7}',
      ).metrics,
    ).toEqual({ cpuCores: 4, cpuLoad: -1, freeMemoryGb: 0, freeDiskGb: 0, score: 7 })
  })
  it('has a score of its own when it is above nothing', () => {
    expect(beat(',"systemMetrics":{"score":11.9}').metrics).toMatchObject({ score: 11 })
    expect(beat(',"systemMetrics":{"score":0}').metrics).not.toHaveProperty('score')
  })
})
