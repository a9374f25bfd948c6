// createWorker: puts the parts together, starts them, and stops them in the order that loses nothing.
import { hostname } from 'node:os'
import { systemClock, systemRandom, type Clock, type Random } from './clock.ts'
import { HttpLedger } from './effect-ledger.ts'
import type { WorkerEvent } from './events.ts'
import { stderrLog, type Log } from './log.ts'
import { LogShipper } from './log-shipper.ts'
import { Metrics, readMachine, type ReadMetrics } from './metrics.ts'
import { Poller } from './poller.ts'
import { guardProcess, onSignals } from './process-guard.ts'
import type { Processors } from './processor.ts'
import { Reporter } from './reporter.ts'
import { readAddresses, Servers } from './servers.ts'
import { Transport } from './transport.ts'
import { Workbench } from './workbench.ts'

export interface WorkerOptions {
  /** Address of the server, e.g. http://localhost:7700; or `urls` when there are several. */
  readonly url?: string
  /** Addresses of servers on one database: the next is asked when one does not answer. */
  readonly urls?: readonly string[]
  readonly token: string
  /** Functions by the name that jobs give as their processor. */
  readonly processors: Processors
  /** How lists show this worker; host name and process id by default. */
  readonly name?: string
  /** Needed with an admin token only. */
  readonly app?: string
  /** What jobs may ask of a worker. */
  readonly labels?: Readonly<Record<string, string>>
  /** Runs at once, 1 to 10,000; 10 by default. */
  readonly concurrency?: number
  /** Version of your code, for lists. */
  readonly version?: string
  /** The worker's own log; a pino logger fits. Warnings and errors to stderr by default. */
  readonly log?: Log
  /** Replaces the figures of the machine that polls carry; asked every 5 s. */
  readonly metrics?: ReadMetrics
  /** How long stop() waits for runs to end, and how long it tries to deliver results while no server answers; 30,000. */
  readonly drainMs?: number
  /** stop() at SIGTERM and SIGINT; true by default. A second signal ends the process at once. */
  readonly signals?: boolean
  /** Survive unhandled rejections and uncaught exceptions while started (they are logged); true by default. */
  readonly guardProcess?: boolean
  readonly onEvent?: (event: WorkerEvent) => void
}

/** Time and chance, for tests. */
export interface WorkerDeps {
  readonly clock?: Clock
  readonly random?: Random
}

export type WorkerState = 'new' | 'starting' | 'running' | 'draining' | 'stopped'

export interface WorkerStatus {
  readonly state: WorkerState
  /** null while there is no session. */
  readonly sessionId: number | null
  /** Processors that have not ended. */
  readonly running: number
  /** Results that no server has answered yet. */
  readonly undelivered: number
  /** The server that is asked. */
  readonly server: string
}

export interface StopResult {
  /** Results that were given up because no server answered for drainMs; 0 when all went well. */
  readonly undelivered: number
}

export interface Worker {
  /**
   * Resolves when the first session is open; tries for ever while no server answers. Also resolves when stop() comes first.
   * @throws ServerRefused when the server says no (wrong token, wrong address, bad name)
   */
  start(): Promise<void>
  /**
   * Takes nothing new, hands back what has not begun, waits up to drainMs for what runs, then aborts it; delivers every
   * result, ends the session. May be called at any time and more than once.
   */
  stop(): Promise<StopResult>
  status(): WorkerStatus
}

const checkConcurrency = (concurrency: number): number => {
  if (Number.isInteger(concurrency) && concurrency >= 1 && concurrency <= 10_000) return concurrency
  throw new RangeError('concurrency must be a whole number from 1 to 10,000')
}

class OnceJobWorker implements Worker {
  readonly #options: WorkerOptions
  readonly #clock: Clock
  readonly #log: Log
  readonly #drainMs: number
  readonly #transport: Transport
  readonly #servers: Servers
  readonly #reporter: Reporter
  readonly #shipper: LogShipper
  readonly #ledger: HttpLedger
  readonly #bench: Workbench
  readonly #poller: Poller
  #state: WorkerState = 'new'
  #polling: Promise<void> | undefined
  #stopping: Promise<StopResult> | undefined
  #unhook: () => void = () => undefined

  constructor(options: WorkerOptions, deps: WorkerDeps) {
    this.#options = options
    this.#clock = deps.clock ?? systemClock
    this.#log = options.log ?? stderrLog
    this.#drainMs = options.drainMs ?? 30_000
    const addresses = readAddresses(options.urls ?? (options.url === undefined ? [] : [options.url]))
    const concurrency = checkConcurrency(options.concurrency ?? 10)
    const names = Object.keys(options.processors)
    if (names.length === 0) throw new TypeError('processors must have at least one processor')
    const log = this.#log
    const clock = this.#clock
    const random = deps.random ?? systemRandom
    const onEvent = (event: WorkerEvent): void => this.#tell(event)
    this.#transport = new Transport(clock, options.token)
    this.#servers = new Servers(addresses, options.app, {
      transport: this.#transport,
      log,
      reachable: (yes, server, error) => this.#reachable(yes, server, error),
    })
    const servers = this.#servers
    this.#reporter = new Reporter({ servers, clock, random, log })
    this.#shipper = new LogShipper({ servers, clock, random, log })
    this.#ledger = new HttpLedger({ servers, clock, random })
    this.#bench = new Workbench({
      concurrency,
      processors: options.processors,
      clock,
      log,
      reporter: this.#reporter,
      shipper: this.#shipper,
      ledger: this.#ledger,
      onEvent,
      onRoom: () => this.#poller.room(),
    })
    this.#poller = new Poller({
      servers,
      bench: this.#bench,
      metrics: new Metrics(clock, options.metrics ?? readMachine),
      clock,
      random,
      log,
      onEvent,
      describe: {
        name: options.name ?? `${hostname()}-${process.pid}`,
        address: hostname(),
        pid: process.pid,
        processors: names,
        slots: concurrency,
        ...(options.labels === undefined ? {} : { labels: options.labels }),
        ...(options.version === undefined ? {} : { version: options.version }),
      },
    })
  }

  start(): Promise<void> {
    if (this.#state !== 'new') return Promise.reject(new Error('A worker is started once; make a new one'))
    this.#state = 'starting'
    this.#hook()
    return new Promise((resolve, reject) => {
      const onOpen = (): void => {
        if (this.#state === 'starting') this.#state = 'running'
        resolve()
      }
      this.#polling = this.#poller.run(onOpen).then(resolve, (error: unknown) => {
        this.#close()
        reject(error)
      })
    })
  }

  stop(): Promise<StopResult> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  status(): WorkerStatus {
    return {
      state: this.#state,
      sessionId: this.#poller.sessionId,
      running: this.#bench.running,
      undelivered: this.#reporter.undelivered,
      server: this.#servers.current,
    }
  }

  async #stop(): Promise<StopResult> {
    if (this.#state === 'new' || this.#state === 'stopped') {
      this.#close()
      return { undelivered: 0 }
    }
    this.#log.info({ running: this.#bench.running }, 'worker began to drain')
    this.#state = 'draining'
    this.#bench.drain()
    this.#poller.drain()
    if (!(await this.#within(this.#drainMs, this.#bench.idle('ended')))) {
      this.#log.warn({ running: this.#bench.running }, 'runs did not end in time, aborted')
      this.#bench.abortAll()
      await this.#bench.idle('reported')
    }
    const undelivered = await this.#reporter.finish(this.#drainMs)
    if (undelivered > 0) this.#log.error({ results: undelivered }, 'results were not delivered: no server answered')
    await this.#shipper.close()
    this.#poller.end()
    await this.#polling
    await this.#poller.leave()
    this.#close()
    this.#log.info({ undelivered }, 'worker stopped')
    return { undelivered }
  }

  /** @returns false when the time was over first */
  async #within(ms: number, event: Promise<void>): Promise<boolean> {
    const calledOff = new AbortController()
    const happened = event.then(() => {
      calledOff.abort()
      return true
    })
    return Promise.race([happened, this.#clock.sleep(ms, calledOff.signal).then(() => calledOff.signal.aborted)])
  }

  #hook(): void {
    const undo: (() => void)[] = []
    if (this.#options.guardProcess !== false) undo.push(guardProcess(this.#log))
    if (this.#options.signals !== false) {
      undo.push(
        onSignals((signal) => {
          this.#log.info({ signal }, 'signal received')
          void this.stop()
        }),
      )
    }
    this.#unhook = () => {
      for (const remove of undo) remove()
    }
  }

  #close(): void {
    this.#state = 'stopped'
    this.#ledger.close()
    this.#transport.close()
    this.#unhook()
  }

  #reachable(yes: boolean, server: string, error: string): void {
    if (yes) {
      this.#log.info({ server }, 'server answers again')
      this.#tell({ type: 'server-reachable', server })
    } else {
      this.#log.warn({ server, error }, 'no server answers')
      this.#tell({ type: 'server-unreachable', server, error })
    }
  }

  #tell(event: WorkerEvent): void {
    try {
      this.#options.onEvent?.(event)
    } catch (error) {
      // The listener's error is the listener's: a run must not suffer from it.
      this.#log.error({ err: error, event: event.type }, 'onEvent threw')
    }
  }
}

/**
 * Makes a worker; nothing happens before `start()`.
 * @throws TypeError, RangeError when an option can not be used
 */
export const createWorker = (options: WorkerOptions, deps: WorkerDeps = {}): Worker => new OnceJobWorker(options, deps)
