// The control socket: how the other commands talk to the running process (docs/formats/control.md).
// JSON, one value a line. The client sends one request; the server answers with any number of progress lines and one
// last line with a result or an error, then closes.
import type { Address, Connection, Listener, Network } from '@qsfs/io';
import { errorCode } from '@qsfs/io';
import { isErrorCode, messageOf, QsfsError } from './errors.ts';

/** Raised when requests or answers change their meaning. */
export const CONTROL_VERSION = 1;
/** Longest line either side accepts. */
const LINE_BYTES_MAX = 16 * 2 ** 20;
/** Clients served at a time. */
const CLIENTS_MAX = 64;
const CONNECT_TIMEOUT_MS = 2000;

/** A request as it arrives. */
export interface ControlRequest {
  readonly verb: string;
  readonly parameters: Readonly<Record<string, unknown>>;
}

/** Serves one request; what it returns is the result. */
export type ControlHandler = (
  request: ControlRequest,
  progress: (line: unknown) => void,
  signal: AbortSignal,
) => Promise<unknown>;

/** Cuts a stream of bytes into lines. @throws RangeError when a line is too long */
class LineSplitter {
  #rest = Buffer.alloc(0);

  push(chunk: Uint8Array): string[] {
    const all = Buffer.concat([this.#rest, chunk]);
    const lines: string[] = [];
    let begin = 0;
    for (let end = all.indexOf(10, begin); end >= 0; end = all.indexOf(10, begin)) {
      lines.push(all.toString('utf8', begin, end));
      begin = end + 1;
    }
    this.#rest = Buffer.from(all.subarray(begin));
    if (this.#rest.length > LINE_BYTES_MAX) throw new RangeError('a line is too long');
    return lines;
  }
}

function send(connection: Connection, value: unknown): void {
  connection.write([Buffer.from(`${JSON.stringify(value)}\n`)]);
}

/**
 * Listens on the control socket.
 * @param handler called for every request; a QsfsError goes to the client with its code
 * @param answered called when the client of a served request has its answer, or is gone
 */
export function serveControl(
  network: Network,
  address: Address,
  handler: ControlHandler,
  answered: (request: ControlRequest) => void = () => {},
): Promise<Listener> {
  let clients = 0;
  return network.listen(address, (connection) => {
    if (clients >= CLIENTS_MAX) {
      connection.destroy();
      return;
    }
    clients += 1;
    const lines = new LineSplitter();
    const abort = new AbortController();
    let asked = false;
    let gone = false;
    let served: ControlRequest | undefined;
    const reply = (value: unknown) => {
      if (!gone) send(connection, value);
    };
    const serve = async (line: string) => {
      try {
        const request = parseRequest(line);
        const result = await handler(request, (progress) => reply({ progress }), abort.signal);
        served = request;
        reply({ result: result ?? null });
      } catch (error) {
        const known = error instanceof QsfsError;
        reply({
          error: {
            code: known ? error.code : 'QSFS_E_INTERNAL',
            message: messageOf(error),
            ...(known ? { hint: error.hint } : {}),
          },
        });
      }
      if (!gone) connection.end();
      else if (served) answered(served);
    };
    connection.start({
      data(chunk) {
        try {
          for (const line of lines.push(chunk)) {
            if (asked) continue;
            asked = true;
            void serve(line);
          }
        } catch {
          connection.destroy();
        }
      },
      drained() {},
      closed() {
        gone = true;
        clients -= 1;
        abort.abort(new Error('the client went away'));
        if (served) answered(served);
      },
    });
  });
}

function parseRequest(line: string): ControlRequest {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    value = undefined;
  }
  const record = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  const { version, verb, parameters } = record;
  if (version !== CONTROL_VERSION || typeof verb !== 'string') {
    throw new QsfsError(
      'QSFS_E_USAGE',
      'the running qsfs does not understand this request',
      'Both must be of the same release: "qsfs down", then "qsfs up".',
    );
  }
  const table = typeof parameters === 'object' && parameters !== null ? parameters : {};
  return { verb, parameters: table as Record<string, unknown> };
}

/**
 * Sends one request to the process that serves a state folder, and waits for its result.
 * @param progress called with every progress line
 * @throws QsfsError QSFS_E_NOT_RUNNING when nobody listens, or what the server answered
 */
export async function callControl(
  network: Network,
  address: Address & { readonly path: string },
  request: ControlRequest,
  progress: (line: unknown) => void = () => {},
): Promise<unknown> {
  let connection: Connection;
  try {
    connection = await network.connect(address, CONNECT_TIMEOUT_MS);
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTDIR') {
      throw new QsfsError('QSFS_E_NOT_RUNNING', `no qsfs is running on this folder (${address.path})`);
    }
    throw new QsfsError('QSFS_E_NOT_RUNNING', `qsfs does not answer on ${address.path}: ${messageOf(error)}`);
  }
  return await new Promise((resolve, reject) => {
    const lines = new LineSplitter();
    let settled = false;
    const settle = (act: () => void) => {
      if (!settled) act();
      settled = true;
      connection.destroy();
    };
    connection.start({
      data(chunk) {
        try {
          for (const line of lines.push(chunk)) takeLine(line);
        } catch (error) {
          settle(() => reject(error));
        }
      },
      drained() {},
      closed() {
        settle(() =>
          reject(new QsfsError('QSFS_E_NOT_RUNNING', 'qsfs ended while the command was under way')),
        );
      },
    });
    const takeLine = (line: string) => {
      const answer = JSON.parse(line) as Record<string, unknown>;
      if ('progress' in answer) progress(answer['progress']);
      else if ('error' in answer) settle(() => reject(errorFromAnswer(answer['error'])));
      else settle(() => resolve(answer['result']));
    };
    send(connection, { version: CONTROL_VERSION, ...request });
  });
}

function errorFromAnswer(answer: unknown): QsfsError {
  const { code, message, hint } = (answer ?? {}) as Record<string, unknown>;
  return new QsfsError(
    isErrorCode(code) ? code : 'QSFS_E_INTERNAL',
    typeof message === 'string' ? message : 'unknown error',
    typeof hint === 'string' ? hint : undefined,
  );
}
