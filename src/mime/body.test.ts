import { describe, expect, it } from 'vitest'
import { base64Lines, base64Size, encodeText } from './body.js'

describe('a body', () => {
  it('of ASCII in short lines goes as 7bit with CRLF', () => {
    expect(encodeText('a\nb\r\nc\rd\r\r\n', null)).toEqual({ encoding: '7bit', data: 'a\r\nb\r\nc\r\nd\r\n\r\n' })
    expect(encodeText('', null)).toEqual({ encoding: '7bit', data: '' })
    expect(encodeText('.\n..\n\ttab', null)).toEqual({ encoding: '7bit', data: '.\r\n..\r\n\ttab' })
  })

  it('with a line of 998 octets is 7bit and with one of 999 is not', () => {
    expect(encodeText(`a\n${'x'.repeat(998)}\nb`, null).encoding).toBe('7bit')
    expect(encodeText(`a\n${'x'.repeat(999)}\nb`, null).encoding).toBe('quoted-printable')
    expect(encodeText('x'.repeat(999), null).encoding).toBe('quoted-printable')
  })

  it('is quoted-printable or base64, whichever is shorter', () => {
    expect(encodeText('Perché no?\n', null)).toEqual({ encoding: 'quoted-printable', data: 'Perch=C3=A9 no?\r\n' })
    expect(encodeText('日本語', null)).toEqual({ encoding: 'base64', data: '5pel5pys6Kqe\r\n' })
  })

  it('in quoted-printable keeps spaces at line ends, control characters and equal signs', () => {
    expect(encodeText('é= \n\t\na longer line of normal text here\0 ', null).data).toBe(
      '=C3=A9=3D=20\r\n=09\r\na longer line of normal text here=00=20',
    )
  })

  it('in quoted-printable has no line over 76 characters', () => {
    const { data } = encodeText(`${'x'.repeat(2_000)}é\n${'abc def é '.repeat(50)}`, null)
    expect(data.split('\r\n').every(line => line.length <= 76)).toBe(true)
  })

  it('that holds the boundary is encoded, so that the boundary does not show', () => {
    const encoded = encodeText('a\n--=_b\n', '=_b')
    expect(encoded).toEqual({ encoding: 'quoted-printable', data: 'a\r\n--=3D_b\r\n' })
  })
})

describe('base64', () => {
  it.each([0, 1, 2, 3, 56, 57, 58, 114, 1_000])('of %i octets has the size foretold', size => {
    const lines = base64Lines(Buffer.alloc(size, 7))
    expect(lines.length).toBe(base64Size(size))
    expect(Buffer.from(lines, 'base64').length).toBe(size)
  })
})
