/** A copy of the built service in which the modules named by crash-points.mjs hand out their exports wrapped. */
import { cp, readdir, rename, symlink, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { tempDir } from './process.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const points = new URL('./crash-points.mjs', import.meta.url).href

/** Answers its main.js, and what removes it all. */
export async function copyProgram(): Promise<{ main: string; remove(): Promise<void> }> {
  const { dir, remove } = await tempDir()
  const dist = join(dir, 'dist')
  await cp(join(root, 'dist'), dist, { recursive: true })
  // What the modules look for beside dist.
  for (const name of await readdir(root)) {
    if (name !== 'dist') await symlink(join(root, name), join(dir, name))
  }
  const { wrappedExports } = (await import(points)) as { wrappedExports: Record<string, string[]> }
  for (const [module, names] of Object.entries(wrappedExports)) {
    const own = module.replace(/\.js$/, '.own.js')
    await rename(join(dist, module), join(dist, own))
    await writeFile(join(dist, module), wrapper(module, names, `./${basename(own)}`))
  }
  return { main: join(dist, 'main.js'), remove }
}

function wrapper(module: string, names: readonly string[], own: string): string {
  return `export * from '${own}'
import * as own from '${own}'
import { wrap } from '${points}'
${names.map(name => `export const ${name} = wrap('${module}', '${name}', own.${name})`).join('\n')}
`
}
