// Just enough tar to carry a data folder: regular files and folders, ustar headers.
import { mkdirSync, readFileSync, readdirSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'

const blockBytes = 512
const ascii = new TextDecoder('latin1')

interface Entry {
  readonly name: string
  readonly folder: boolean
  readonly data: Uint8Array
}

const header = (name: string, folder: boolean, sizeBytes: number): Buffer => {
  const block = Buffer.alloc(blockBytes)
  block.write(name, 0, 100, 'latin1')
  block.write(folder ? '0000700\0' : '0000600\0', 100, 'latin1')
  block.write('0000000\0'.repeat(2), 108, 'latin1')
  block.write(`${sizeBytes.toString(8).padStart(11, '0')}\0`, 124, 'latin1')
  block.write('00000000000\0', 136, 'latin1')
  block.write(' '.repeat(8), 148, 'latin1')
  block.write(folder ? '5' : '0', 156, 'latin1')
  block.write('ustar\x0000', 257, 'latin1')
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

/** Packs everything under `folder`, in a fixed order and without times, owners or modes. */
export const packFolder = (folder: string): Buffer => {
  const parts: Buffer[] = []
  const walk = (prefix: string): void => {
    for (const name of readdirSync(join(folder, prefix)).toSorted()) {
      const path = prefix === '' ? name : `${prefix}/${name}`
      if (path.length > 100) throw new Error(`name too long for tar: ${path}`)
      if (statSync(join(folder, path)).isDirectory()) {
        parts.push(header(path, true, 0))
        walk(path)
      } else {
        const data = readFileSync(join(folder, path))
        parts.push(header(path, false, data.length), data, Buffer.alloc(-data.length & (blockBytes - 1)))
      }
    }
  }
  walk('')
  parts.push(Buffer.alloc(2 * blockBytes))
  return Buffer.concat(parts)
}

const entries = function* (tar: Uint8Array): Generator<Entry> {
  const field = (at: number, bytes: number): string => ascii.decode(tar.subarray(at, at + bytes)).replace(/\0.*$/s, '')
  for (let at = 0; tar[at] !== undefined && tar[at] !== 0;) {
    const sizeBytes = Number.parseInt(field(at + 124, 12), 8)
    const data = tar.subarray(at + blockBytes, at + blockBytes + sizeBytes)
    yield { name: field(at, 100), folder: field(at + 156, 1) === '5', data }
    at += blockBytes + Math.ceil(sizeBytes / blockBytes) * blockBytes
  }
}

/**
 * Unpacks into `folder`, which is made. With `sync` everything is on the disk when it resolves,
 * but for the entry of `folder` in its parent.
 */
export const unpackFolder = async (
  tar: Uint8Array,
  folder: string,
  options: { readonly sync: boolean },
): Promise<void> => {
  const folders = [folder]
  mkdirSync(folder, { mode: 0o700 })
  const write = async (entry: Entry): Promise<void> => {
    const file = await open(join(folder, entry.name), 'wx', 0o600)
    try {
      await file.writeFile(entry.data)
      if (options.sync) await file.datasync()
    } finally {
      await file.close()
    }
  }
  const files: Entry[] = []
  for (const entry of entries(tar)) {
    if (entry.folder) {
      folders.push(join(folder, entry.name))
      mkdirSync(join(folder, entry.name), { mode: 0o700 })
    } else files.push(entry)
  }
  // several at once: the file system then commits many files with one write of its journal
  const hand = async (): Promise<void> => {
    for (let next = files.pop(); next !== undefined; next = files.pop()) await write(next)
  }
  await Promise.all(Array.from({ length: 16 }, hand))
  if (options.sync) for (const path of folders) await syncFolder(path)
}

/** Makes the names in a folder durable. */
export const syncFolder = async (path: string): Promise<void> => {
  // Windows cannot open a folder, and needs no such call
  if (process.platform === 'win32') return
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
