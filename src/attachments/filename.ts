/** The MD5 marker that clients put in file names: `report_{MD5:9e10…}.pdf` is `report.pdf` with a known content. */

export interface MarkedFilename {
  /** Without the marker; '' when there was nothing else. */
  readonly filename: string
  /** 32 hex digits in lower case, or null without a valid marker. */
  readonly md5: string | null
}

/**
 * Cuts out every marker with one `_` before it; the first valid one tells the MD5, an invalid one is ignored. What only
 * becomes one by the cut, as of `{MD5:{MD5:}}`, is none: to look again and again takes more than in proportion.
 */
export function stripMd5Marker(filename: string): MarkedFilename {
  if (!filename.includes('{MD5:')) return { filename, md5: null }
  let md5: string | null = null
  const stripped = filename.replace(/_?\{MD5:([^{}]*)\}/g, (_, digits: string) => {
    if (md5 === null && /^[0-9a-f]{32}$/i.test(digits)) md5 = digits.toLowerCase()
    return ''
  })
  return { filename: stripped, md5 }
}
