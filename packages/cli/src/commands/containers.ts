// `oncejob containers`: the jars that Java workers load.
import { basename } from 'node:path'
import { connectionOptions, type Command } from '../command.ts'
import { exitCodes } from '../exit-codes.ts'
import { sayTime } from '../format.ts'
import { readBytes } from '../input.ts'

const list: Command = {
  name: 'containers',
  usage: '',
  says: 'list the containers of Java workers',
  words: [0, 0],
  options: connectionOptions,
  async run({ out, client }) {
    const page = await client.containers.list().page()
    out.page(
      page,
      [
        { title: 'ID', cell: ({ id }) => String(id), right: true },
        { title: 'NAME', cell: ({ name }) => name },
        { title: 'VERSION', cell: ({ version }) => version },
        { title: 'BYTES', cell: ({ size }) => String(size), right: true },
        { title: 'CHANGED', cell: ({ updatedAt }) => sayTime(updatedAt, out.nowMs) },
        { title: 'DEPLOYED', cell: ({ deployedAt }) => sayTime(deployedAt, out.nowMs) },
      ],
      'no containers: oncejob containers upload FILE.jar',
    )
    return exitCodes.ok.code
  },
}

const show: Command = {
  name: 'containers show',
  usage: 'ID',
  says: 'show a container, and which Java workers have loaded it',
  words: [1, 1],
  options: connectionOptions,
  async run({ args, out, client }) {
    const container = await client.containers.get(args.id(0))
    out.answer(container, () => {
      out.facts([
        ['container', `${container.id} "${container.name}"`],
        ['version', container.version],
        ['sha256', container.sha256],
        ['bytes', String(container.size)],
        ['changed', sayTime(container.updatedAt, out.nowMs)],
        ['deployed', sayTime(container.deployedAt, out.nowMs)],
      ])
      out.raw('\n')
      out.table(
        container.workers,
        [
          { title: 'WORKER', cell: ({ address }) => address },
          {
            title: 'STATE',
            cell: ({ state }) => state,
            style: ({ state }) => (state === 'loaded' ? 'green' : 'yellow'),
          },
          { title: 'VERSION', cell: ({ version }) => version ?? '–' },
          { title: 'LOADED', cell: ({ loadedAt }) => sayTime(loadedAt, out.nowMs) },
        ],
        'no live Java workers',
      )
    })
    return exitCodes.ok.code
  },
}

const upload: Command = {
  name: 'containers upload',
  usage: 'FILE.jar',
  says: 'store a jar as a container, or as the new version of the one of its name',
  words: [1, 1],
  options: {
    name: { value: 'NAME', says: 'default: the name of the file' },
    deploy: { says: 'tell the live Java workers to load it' },
    ...connectionOptions,
  },
  async run({ args, out, client }) {
    const file = args.word(0)
    const name = args.text('name') ?? basename(file).replace(/\.jar$/i, '')
    const container = await client.containers.upload(name, readBytes(file))
    const deployed = args.flag('deploy') ? await client.containers.deploy(container.id) : undefined
    out.answer(container, () => {
      out.line(`container ${container.id} "${container.name}" has version ${container.version}`)
      if (deployed !== undefined) out.line(`${deployed.workers.length} workers are told to load it`)
    })
    return exitCodes.ok.code
  },
}

const deploy: Command = {
  name: 'containers deploy',
  usage: 'ID',
  says: 'tell the live Java workers to load a container',
  words: [1, 1],
  options: connectionOptions,
  async run({ args, out, client }) {
    const deployed = await client.containers.deploy(args.id(0))
    out.answer(deployed, () => {
      out.line(`${deployed.workers.length} workers are told to load version ${deployed.version}`)
      out.note(`whether they have: oncejob containers show ${deployed.id}`)
    })
    return exitCodes.ok.code
  },
}

const remove: Command = {
  name: 'containers delete',
  usage: 'ID',
  says: 'delete a container, and tell the Java workers to drop it',
  words: [1, 1],
  options: connectionOptions,
  async run({ args, out, client }) {
    const id = args.id(0)
    await client.containers.delete(id)
    out.answer({ id }, () => out.line(`container ${id} was deleted`))
    return exitCodes.ok.code
  },
}

export const containerCommands: readonly Command[] = [list, show, upload, deploy, remove]
