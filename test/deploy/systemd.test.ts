/** The units: what systemd says of them, that they are hardened alike, and that they fit the service. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SETTINGS } from '../../src/config-schema.js'
import { has } from '../support/deploy-files.js'

const FOLDER = 'deploy/systemd'
const UNITS = ['mail-proxy.service', 'mail-proxy@.service']

interface Line {
  readonly section: string
  readonly name: string
  readonly value: string
}

function linesOf(file: string): Line[] {
  let section = ''
  return readFileSync(join(FOLDER, file), 'utf8')
    .split('\n')
    .filter(line => line !== '' && !line.startsWith('#'))
    .flatMap(line => {
      const heading = /^\[(\w+)\]$/.exec(line)
      if (heading !== null) section = heading[1]!
      const at = line.indexOf('=')
      return heading === null ? [{ section, name: line.slice(0, at), value: line.slice(at + 1) }] : []
    })
}

describe.each(UNITS)('%s', unit => {
  const lines = linesOf(unit)
  const all = (name: string) => lines.filter(line => line.name === name).map(({ value }) => value)

  it('gives the service the time it needs to stop', () => {
    const [seconds] = all('TimeoutStopSec')
    expect(Number(seconds)).toBeGreaterThanOrEqual(SETTINGS['queue.stopTimeoutMs'].default / 1000 + 10)
  })

  it('lets it write its own folder alone, which is the instance', () => {
    const [name] = /(?:serve|start (%i))$/.exec(all('ExecStart')[0]!)!.slice(1)
    expect(all('StateDirectory')).toEqual([`mail-proxy/${name ?? 'default'}`])
    expect(all('Environment').join(' ')).toContain('GMP_INSTANCES_DIR=/var/lib/mail-proxy')
    expect(all('ProtectSystem')).toEqual(['strict'])
    expect(all('ReadWritePaths')).toEqual([])
  })

  it('leaves V8 what it needs', () => {
    expect(all('MemoryDenyWriteExecute')).toEqual([])
    expect(all('ProcSubset')).toEqual([])
  })

  it('has the restrictions of the other', () => {
    const restrictions = (file: string) => {
      const text = readFileSync(join(FOLDER, file), 'utf8')
      return text.slice(text.indexOf('NoNewPrivileges='))
    }
    expect(restrictions(unit).length).toBeGreaterThan(500)
    expect(restrictions(unit)).toBe(restrictions(UNITS[0]!))
  })
})

describe('credentials.conf', () => {
  it('names for each variable a credential that is loaded', () => {
    const lines = linesOf('credentials.conf')
    const loaded = lines.filter(({ name }) => name === 'LoadCredential').map(({ value }) => value.split(':')[0])
    const used = lines.filter(({ name }) => name === 'Environment').map(({ value }) => value)
    expect(used.map(value => value.split('=%d/')[1])).toEqual(loaded)
    for (const value of used) expect(value).toMatch(/^GMP_\w+_FILE=%d\//)
  })
})

const hasAnalyze = has('systemd-analyze', '--version')

describe.skipIf(!hasAnalyze)('systemd-analyze', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gmp-systemd-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  // As installed, but with the node of this machine: verify looks whether the program is there.
  beforeAll(() => {
    for (const unit of UNITS) {
      const text = readFileSync(join(FOLDER, unit), 'utf8').replace('=/usr/bin/node ', `=${process.execPath} `)
      writeFileSync(join(folder, unit), text)
    }
  })
  const analyze = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync('systemd-analyze', args, { cwd: folder, encoding: 'utf8' })
    return { status, output: stdout + stderr }
  }

  it.each(['mail-proxy.service', 'mail-proxy@shop.service'])('verifies %s without a word', unit => {
    expect(analyze('verify', `./${unit}`)).toEqual({ status: 0, output: '' })
  })

  it('has something to say of a unit that is wrong', () => {
    const wrong = join(folder, 'wrong.service')
    writeFileSync(wrong, '[Service]\nExecStart=/no/such/program\nProtectSystm=yes\n')
    expect(analyze('verify', './wrong.service').output).toContain('ProtectSystm')
  })

  it('calls what the service is exposed to 1.3 of 10', () => {
    const { output } = analyze('security', '--offline=true', './mail-proxy.service')
    const [, score] = /exposure level for mail-proxy\.service: ([\d.]+)/.exec(output) ?? []
    // Versions of systemd differ by a little.
    expect(Number(score)).toBeLessThan(2)
  })
})
