/**
 * The form of a backup: one SQLite file, the whole database with the table `backup` beside its own, a row for each file
 * of the instance folder that travels along and one for the manifest. That table makes it a backup: the service serves
 * none that has it.
 */

import { BACKUP_TABLE, LATEST_SCHEMA } from '../db/migrate.js'
import { SqliteCode, sqliteCode } from '../db/sqlite-code.js'
import type { SqliteConnection } from '../db/sqlite-driver.js'
import { CopyRefused } from './errors.js'

/** Files of the instance folder that a backup may hold. The key opens what the database has sealed. */
export const FOLDER_FILES = ['key', 'token', 'config.ini'] as const
export type FolderFile = (typeof FOLDER_FILES)[number]
export type FolderFiles = Readonly<Partial<Record<FolderFile, string>>>

export interface Manifest {
  readonly format: 1
  /** ISO 8601, UTC. All that was committed before is in the backup. */
  readonly made_at: string
  /** Of mail-proxy. */
  readonly version: string
  readonly instance: string
}

export interface BackupContents {
  readonly manifest: Manifest
  readonly files: FolderFiles
}

export function writeContents(copy: SqliteConnection, { manifest, files }: BackupContents): void {
  copy.exec(`create table ${BACKUP_TABLE} (name text primary key, content text not null)`)
  const insert = copy.prepare(`insert into ${BACKUP_TABLE} (name, content) values (?1, ?2)`)
  insert.all('manifest', JSON.stringify(manifest))
  for (const name of FOLDER_FILES) {
    const content = files[name]
    if (content !== undefined) insert.all(name, content)
  }
}

/** Throws CopyRefused when it is no backup of ours or of a newer version, and what `explainFile` explains. `path` is for the sentence. */
export function readContents(copy: SqliteConnection, path: string): BackupContents {
  const [tables] = copy
    .prepare("select count(*) as n from sqlite_master where type = 'table' and name in (?1, 'meta', 'messages')")
    .all(BACKUP_TABLE)
  if (Number(tables?.n) !== 3) throw notOurs(path)
  const given = copy.prepare(`select name, content from ${BACKUP_TABLE}`).all()
  const rows = new Map(given.map(row => [row.name, String(row.content)]))
  const manifest = parseManifest(rows.get('manifest'), path)
  const schema = Number(copy.prepare("select value from meta where key = 'schema_version'").all()[0]?.value)
  if (manifest.format > 1 || schema > LATEST_SCHEMA) {
    throw new CopyRefused(
      `${path} was made by mail-proxy ${manifest.version} (schema ${schema}), newer than this version knows (${LATEST_SCHEMA}): restore it with that version`,
    )
  }
  const files = Object.fromEntries(FOLDER_FILES.filter(name => rows.has(name)).map(name => [name, rows.get(name)]))
  return { manifest, files }
}

/** Takes the contents away; the octets of the key do not stay behind in free pages. */
export function dropContents(copy: SqliteConnection): void {
  copy.exec(`pragma secure_delete = on; drop table ${BACKUP_TABLE}`)
}

/** Throws CopyRefused when the file is damaged, with SQLite's first finding. */
export function checkIntegrity(copy: SqliteConnection, path: string): void {
  let finding: unknown
  try {
    finding = Object.values(copy.prepare('pragma integrity_check(1)').all()[0] ?? {})[0]
  } catch (error) {
    finding = (error as Error).message
  }
  if (finding === 'ok') return
  throw damaged(path, String(finding))
}

/** The same words for what SQLite says of a file, wherever in it that shows; any other error as it is. */
export function explainFile(error: unknown, path: string): unknown {
  const code = sqliteCode(error)
  if (code === SqliteCode.corrupt) return damaged(path, (error as Error).message, error)
  // An error of SQL: it has other tables or columns.
  return code === SqliteCode.notADatabase || code === SqliteCode.error ? notOurs(path) : error
}

function parseManifest(text: string | undefined, path: string): Manifest {
  try {
    const manifest = JSON.parse(text ?? '') as Manifest
    if (Number.isInteger(manifest.format) && !Number.isNaN(Date.parse(manifest.made_at))) return manifest
  } catch {
    // Told below.
  }
  throw notOurs(path)
}

function damaged(path: string, finding: string, cause?: unknown): CopyRefused {
  // Some findings come below a line that says in which database. Names in it may hold anything.
  const [first] = finding.replace(/^\*{3}.*\n/, '').split('\n', 1)
  return new CopyRefused(`${path} is damaged: ${first!.replace(/\p{Cc}/gu, ' ')}`, { cause })
}

function notOurs(path: string): CopyRefused {
  return new CopyRefused(`${path} is no backup made by \`mail-proxy <instance> backup\``)
}
