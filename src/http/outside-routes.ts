/** What Node would answer by itself, without a body or not at all: said here as every other failure is. */
import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { AppError, type ErrorCode } from '../lib/errors.js'
import { failureBody } from './error-handler.js'

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
    refuse(
      socket,
      '405 Method Not Allowed',
      'method_not_allowed',
      'Method Not Allowed',
      'Allow: GET, POST, PUT, PATCH, DELETE\r\n',
    )
  })
}

/** RFC 9112 §3.2. Node's own check, which is turned off for this one, answers without a body. */
export function requireHost({ httpVersion, headers }: Pick<IncomingMessage, 'httpVersion' | 'headers'>): void {
  if (httpVersion === '1.1' && headers.host === undefined) {
    throw new AppError('bad_request', 'An HTTP/1.1 request needs a Host header')
  }
}

function refuse(socket: Duplex, status: string, code: ErrorCode, text: string, headers = ''): void {
  const body = JSON.stringify(failureBody(new AppError(code, text)))
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${headers}Connection: close\r\n\r\n${body}`,
  )
}
