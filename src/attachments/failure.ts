/** Why an attachment cannot be had. A value of delivery in the end (classify.ts), thrown on the way there. */

/** The sentence tells the reason without the file's name, which whoever knows it puts before; no secret, no address inside. */
export class AttachmentFailure extends Error {
  override name = 'AttachmentFailure'
  constructor(
    reason: string,
    /** permanent: the same again would fail alike (404, 403, over the cap). transient: tried again like an SMTP failure. */
    readonly kind: 'permanent' | 'transient',
    options?: { readonly cause?: unknown },
  ) {
    super(reason, options)
  }
}
