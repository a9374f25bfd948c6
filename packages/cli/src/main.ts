#!/usr/bin/env node
// The `oncejob` command as a process: its arguments, its streams, its exit code.
import { runCli } from './cli.ts'

// The reader of a pipe may leave at any time (`oncejob runs | head -1`): that is its right and no error.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
}

process.exitCode = await runCli(process.argv.slice(2), {
  env: process.env,
  stdout: (text) => void process.stdout.write(text),
  stderr: (text) => void process.stderr.write(text),
  stdoutIsTty: process.stdout.isTTY,
  stderrIsTty: process.stderr.isTTY,
  columns: process.stdout.columns,
  nowMs: () => Date.now(),
})
