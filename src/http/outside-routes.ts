/** What Node would answer by itself, without a body or not at all: said here as every other failure is. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { AppError, type ErrorCode } from '../lib/errors.js'
import { failureBody } from './error-handler.js'
import { SECURITY_HEADERS } from './security-headers.js'

/** A request that is no HTTP, too long or too slow gets no more than a line; Fastify never sees it. */
export function refuseMalformed(error: Error & { code?: string }, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy()
  const [status, text] = REFUSALS[error.code ?? ''] ?? ['400 Bad Request', 'This is not HTTP']
  refuse(socket, status, 'bad_request', text)
}

const REFUSALS: Readonly<Record<string, readonly [status: string, text: string]>> = {
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', 'The headers are too large'],
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'The request took too long'],
}

/** CONNECT asks for a tunnel and never becomes a request; without a listener Node cuts the connection. */
export function refuseTunnels(server: Server): void {
  server.on('connect', (_request, socket) => {
    socket.on('error', () => socket.destroy())
    refuse(socket, '405 Method Not Allowed', 'method_not_allowed', 'Method Not Allowed', {
      allow: 'GET, POST, PUT, PATCH, DELETE',
    })
  })
}

/** An expectation that is not 100-continue (RFC 9110 §10.1.1); without a listener Node answers without a body. */
export function refuseExpectations(server: Server): void {
  server.on('checkExpectation', (_request: IncomingMessage, response: ServerResponse) => {
    const body = refusalBody('bad_request', 'No expectation but 100-continue is met')
    response.writeHead(417, { ...headersOf(body), connection: 'close' }).end(body)
  })
}

/** RFC 9112 §3.2. Node's own check, which is turned off for this one, answers without a body. */
export function requireHost({ httpVersion, headers }: Pick<IncomingMessage, 'httpVersion' | 'headers'>): void {
  if (httpVersion === '1.1' && headers.host === undefined) {
    throw new AppError('bad_request', 'An HTTP/1.1 request needs a Host header')
  }
}

function refuse(
  socket: Duplex,
  status: string,
  code: ErrorCode,
  text: string,
  more: Readonly<Record<string, string>> = {},
): void {
  const body = refusalBody(code, text)
  const headers = Object.entries({ ...headersOf(body), ...more, connection: 'close' })
  socket.end(`HTTP/1.1 ${status}\r\n${headers.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`)
}

function refusalBody(code: ErrorCode, text: string): string {
  return JSON.stringify(failureBody(new AppError(code, text)))
}

function headersOf(body: string): Record<string, string> {
  return {
    ...SECURITY_HEADERS,
    'content-type': 'application/json; charset=utf-8',
    'content-length': String(Buffer.byteLength(body)),
  }
}
