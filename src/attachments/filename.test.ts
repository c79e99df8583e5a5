import { describe, expect, it } from 'vitest'
import { stripMd5Marker } from './filename.js'

const MD5 = '9e107d9d372bb6826bd81d3542a419d6'

describe('stripMd5Marker', () => {
  it.each([
    [`c_{MD5:${MD5}}.bin`, 'c.bin', MD5],
    [`c{MD5:${MD5}}.bin`, 'c.bin', MD5],
    [`c__{MD5:${MD5}}.bin`, 'c_.bin', MD5],
    [`{MD5:${MD5.toUpperCase()}}c.bin`, 'c.bin', MD5],
    [`{MD5:${MD5}}`, '', MD5],
    ['plain_name.pdf', 'plain_name.pdf', null],
  ])('%s is %s with MD5 %s', (given, filename, md5) => {
    expect(stripMd5Marker(given)).toEqual({ filename, md5 })
  })

  it('of markers in one another the inner one is cut out', () => {
    expect(stripMd5Marker(`{MD5:{MD5:${MD5}}}c.bin`)).toEqual({ filename: '{MD5:}c.bin', md5: MD5 })
  })

  it.each(['c_{MD5:xyz}.bin', 'c_{MD5:}.bin', `c_{MD5:${MD5}0}.bin`])('%s loses its marker and has no MD5', given => {
    expect(stripMd5Marker(given)).toEqual({ filename: 'c.bin', md5: null })
  })

  it('a marker that is never closed is part of the name', () => {
    expect(stripMd5Marker(`c_{MD5:${MD5}.bin`)).toEqual({ filename: `c_{MD5:${MD5}.bin`, md5: null })
  })

  it('two markers are both cut out and the first valid one counts', () => {
    expect(stripMd5Marker(`a_{MD5:no}b_{MD5:${MD5}}.txt`)).toEqual({ filename: 'ab.txt', md5: MD5 })
  })
})
