/** `mail-proxy completion <shell>` prints the script; the script calls the hidden `mail-proxy complete -- <words…>`. */
import { Argument, type Command } from 'commander'
import { withExamples } from '../command.js'
import { complete, FILES, type Programs } from '../completion.js'
import { idsForCompletion } from '../completion-ids.js'
import { completionScript, FILES_LINE, SHELLS, type Shell } from '../completion-scripts.js'
import type { CliIo } from '../context.js'
import { printable } from '../output/text.js'

export function addCompletion(program: Command, io: CliIo, programs: Programs): void {
  const command = program
    .command('completion')
    .addArgument(new Argument('<shell>', 'your shell').choices([...SHELLS]))
    .description('print a script that lets your shell complete commands, options and ids; it says how to install it')
    .action((shell: Shell) => io.out(completionScript(shell)))
  withExamples(command, [
    'source <(mail-proxy completion bash)   # in this shell only',
    'mail-proxy completion zsh > ~/.zsh/completions/_mail-proxy',
    'mail-proxy completion fish > ~/.config/fish/completions/mail-proxy.fish',
  ])
  program
    .command('complete', { hidden: true })
    .argument('[words...]')
    .description('candidates for the last word, one a line; what they are follows a tab')
    .action(async (words: string[]) => {
      const found = await complete(words, programs, idsForCompletion(io)).catch(() => [])
      if (found === FILES) return io.out(`${FILES_LINE}\n`)
      io.out(found.map(({ value, about = '' }) => `${printable(value)}\t${printable(about)}\n`).join(''))
    })
}
