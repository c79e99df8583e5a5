/** The files of deploy/ as they are read: their text, their YAML, and the programs that a machine may have to check them. */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'

/** All files below a folder, by their path from the repository's root. */
export function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map(name => join(folder, name))
    .filter(path => statSync(path).isFile() && !path.includes('/secrets/'))
    .sort()
}

/** Each document of a YAML text. Throws on what is no YAML, on a key that stands twice and on an unknown anchor. */
export function documentsOf(text: string): any[] {
  return parseAllDocuments(text, { merge: true })
    .map(document => {
      const [problem] = [...document.errors, ...document.warnings]
      if (problem !== undefined) throw problem
      return document.toJS()
    })
    .filter(document => document !== null)
}

export function readYaml(path: string): any {
  const [document, ...others] = documentsOf(readFileSync(path, 'utf8'))
  if (others.length > 0) throw new Error(`${path} holds ${others.length + 1} documents`)
  return document
}

/** Whether this machine has the program, so that a check which needs it can skip. */
export function has(program: string, ...args: string[]): boolean {
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0
}
