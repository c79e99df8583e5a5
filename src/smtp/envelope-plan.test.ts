import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { textMail } from '../../test/support/smtp-rig.js'
import { planEnvelope } from './envelope-plan.js'
import { type Extensions, parseAuthMechanisms, parseExtensions } from './extensions.js'

const plain: Extensions = { pipelining: false, eightBitMime: false, smtpUtf8: false, size: false, maxSizeBytes: 0 }
const rich: Extensions = { pipelining: true, eightBitMime: true, smtpUtf8: true, size: true, maxSizeBytes: 1000 }

describe('parseExtensions', () => {
  it('reads keywords whatever their case, and parameters', () => {
    const lines = ['pipelining', 'SIZE 35882577', '8BITMIME', 'SMTPUTF8', 'AUTH PLAIN LOGIN']
    expect(parseExtensions(lines)).toEqual({
      pipelining: true,
      eightBitMime: true,
      smtpUtf8: true,
      size: true,
      maxSizeBytes: 35882577,
    })
  })

  it('takes a SIZE without a number, or with a wrong one, as no limit', () => {
    for (const line of ['SIZE', 'SIZE 0', 'SIZE x', 'SIZE -1']) {
      expect(parseExtensions([line])).toMatchObject({ size: true, maxSizeBytes: 0 })
    }
  })

  it('does not take a word inside another line for a keyword', () => {
    expect(parseExtensions(['X-NO PIPELINING', 'XSIZE 5'])).toEqual(plain)
  })

  it('reads AUTH mechanisms in both spellings', () => {
    expect([...parseAuthMechanisms(['AUTH PLAIN login', 'AUTH=CRAM-MD5', 'AUTHX NO'])]).toEqual([
      'PLAIN',
      'LOGIN',
      'CRAM-MD5',
    ])
  })
})

describe('planEnvelope', () => {
  const mail = textMail('x\r\n')

  it('says only what the server understands', () => {
    expect(planEnvelope({ from: 'a@x.test', to: ['b@x.test'] }, mail, plain)).toMatchObject({
      mailCommand: 'MAIL FROM:<a@x.test>\r\n',
    })
    expect(planEnvelope({ from: '', to: ['b@x.test'] }, { ...mail, is8bit: true }, rich)).toMatchObject({
      mailCommand: 'MAIL FROM:<> SIZE=3 BODY=8BITMIME\r\n',
    })
    expect(planEnvelope({ from: '', to: ['ü@x.test'] }, mail, rich)).toMatchObject({
      mailCommand: 'MAIL FROM:<> SIZE=3 BODY=8BITMIME SMTPUTF8\r\n',
      asked: ['ü@x.test'],
    })
  })

  it('refuses a message over the announced size before asking', () => {
    const plan = planEnvelope({ from: '', to: ['b@x.test'] }, { ...mail, sizeBytes: 1001 }, rich)
    expect(plan.refusal).toMatchObject({ code: 552, enhanced: '5.3.4' })
    expect(plan.refusal!.text).toContain('refused before sending')
  })

  it('refuses without SMTPUTF8 what needs it: the message, or only the recipient', () => {
    const to = ['b@x.test', 'ü@x.test']
    expect(planEnvelope({ from: '', to }, { ...mail, needsSmtpUtf8: true }, plain).refusal).toMatchObject({
      code: 553,
      enhanced: '5.6.7',
    })
    expect(planEnvelope({ from: 'é@x.test', to }, mail, plain).refusal).toMatchObject({ code: 553, enhanced: '5.6.7' })
    const plan = planEnvelope({ from: '', to }, mail, plain)
    expect(plan).toMatchObject({
      refusal: null,
      asked: ['b@x.test'],
      refusedHere: [null, { code: 553, enhanced: '5.6.7' }],
    })
  })

  it('never writes an address out that could end the command or the path', () => {
    const bad = ['', 'a\r\nDATA', 'a\n', 'a\0', 'a<b', 'a>b', 'a\x7f', 'a\x85b', '\u2028']
    for (const address of bad) {
      expect(planEnvelope({ from: '', to: [address] }, mail, rich)).toMatchObject({
        asked: [],
        refusedHere: [{ code: 553, enhanced: '5.1.3' }],
      })
      if (address !== '')
        expect(planEnvelope({ from: address, to: ['b@x.test'] }, mail, rich).refusal).toMatchObject({ code: 553 })
    }
  })

  it('writes one line for each address it asks about, whatever the address', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.array(fc.string({ unit: 'binary' })), (from, to) => {
        const plan = planEnvelope({ from, to }, mail, rich)
        if (plan.refusal !== null) return
        // As octets: a character beyond Latin-1 must not come out as a control either.
        for (const line of [plan.mailCommand.slice(0, -2), ...plan.asked])
          expect(Buffer.from(line).some(octet => octet < 32)).toBe(false)
        expect(plan.asked.some(address => /[<>]/.test(address))).toBe(false)
      }),
    )
  })
})
