/** What bash, zsh and fish are told: to ask `mail-proxy complete` for what can follow. */

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

/** The first line in place of candidates that tells the shell to complete paths. */
export const FILES_LINE = ':files'

export function completionScript(shell: Shell): string {
  return SCRIPTS[shell]
}

const BASH = `# bash completion for mail-proxy. Each shell from now on:
#   mail-proxy completion bash > ~/.local/share/bash-completion/completions/mail-proxy
# (make that folder first), or this line in ~/.bashrc:
#   source <(mail-proxy completion bash)
_mail_proxy() {
  local IFS=$'\\n' current=\${COMP_WORDS[COMP_CWORD]} reply
  reply=($("\${COMP_WORDS[0]}" complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f 1))
  if [ "\${reply[0]}" = '${FILES_LINE}' ]; then
    compopt -o filenames 2>/dev/null
    [ "$current" = '=' ] && current=
    COMPREPLY=($(compgen -f -- "$current"))
  else
    # bash has taken --option=value apart: only the value is completed.
    [[ $current == = || \${COMP_WORDS[COMP_CWORD - 1]} == = ]] && reply=("\${reply[@]#--*=}")
    COMPREPLY=("\${reply[@]}")
  fi
}
complete -F _mail_proxy mail-proxy
`

const ZSH = `#compdef mail-proxy
# zsh completion for mail-proxy. Each shell from now on, with a folder of your own that is in $fpath before compinit runs:
#   mail-proxy completion zsh > ~/.zsh/completions/_mail-proxy
# or this line in ~/.zshrc, behind compinit:
#   source <(mail-proxy completion zsh)
_mail-proxy() {
  local -a reply described
  local line
  reply=("\${(@f)$("\${words[1]}" complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ \${reply[1]} == '${FILES_LINE}' ]]; then
    compset -P '--*='
    _files
    return
  fi
  for line in $reply; do
    described+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
  done
  _describe mail-proxy described
}
# Loaded from $fpath it is called for the first time; sourced, it has to be made known.
if [[ \${funcstack[1]} == _mail-proxy ]]; then
  _mail-proxy "$@"
else
  compdef _mail-proxy mail-proxy
fi
`

const FISH = `# fish completion for mail-proxy. Each shell from now on:
#   mail-proxy completion fish > ~/.config/fish/completions/mail-proxy.fish
function __mail_proxy_complete
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  set -l reply ($words[1] complete -- $words[2..-1] "$current" 2>/dev/null)
  if test "$reply[1]" = '${FILES_LINE}'
    __fish_complete_path (string replace -r -- '^--[^=]*=' '' "$current")
  else if set -q reply[1]
    printf '%s\\n' $reply
  end
end
complete -c mail-proxy -f -a '(__mail_proxy_complete)'
`

const SCRIPTS: Readonly<Record<Shell, string>> = { bash: BASH, zsh: ZSH, fish: FISH }
