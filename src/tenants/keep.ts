/** Stands for a secret that came masked: the one there is, unseen by the caller. */
export const KEEP = Symbol('keep the secret there is')
