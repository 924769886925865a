// A connection that sends given bytes and tells exactly which bytes came back.
import * as net from 'node:net';
import { ReplyDecoder } from '@qsfs/resp';

const ANSWER_MS = 15_000;

/** A raw connection to a server. */
export class RawConnection {
  readonly socket: net.Socket;
  closed = false;
  #received: Buffer[] = [];
  #wake: () => void = () => {};

  private constructor(socket: net.Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      this.#received.push(chunk);
      this.#wake();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.closed = true;
      this.#wake();
    });
  }

  static async open(where: { path: string } | { host: string; port: number }): Promise<RawConnection> {
    return await new Promise((resolve, reject) => {
      const socket = net.connect(where);
      socket.once('error', reject);
      socket.once('connect', () => resolve(new RawConnection(socket)));
    });
  }

  /** Resolves when the kernel has the bytes. */
  async send(bytes: Uint8Array): Promise<void> {
    if (bytes.length === 0) return;
    await new Promise<void>((resolve) => {
      this.socket.write(bytes, () => resolve());
    });
  }

  /** What came since the last call, as soon as it holds `count` replies or the connection is closed. */
  async receive(count: number): Promise<Buffer> {
    const deadline = Date.now() + ANSWER_MS;
    for (;;) {
      if (this.closed || count === 0 || this.#count() >= count) break;
      if (Date.now() > deadline)
        throw new Error(`no answer; so far ${JSON.stringify(this.#bytes().toString('latin1'))}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1000);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    const bytes = this.#bytes();
    this.#received = [];
    return bytes;
  }

  /** Resolves when the server has closed the connection. */
  async end(): Promise<void> {
    if (this.closed) return;
    await new Promise((resolve) => this.socket.once('close', resolve));
  }

  async request(...words: (string | Uint8Array)[]): Promise<string> {
    const parts = words.flatMap((word) => {
      const bytes = Buffer.from(word);
      return [Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n')];
    });
    await this.send(Buffer.concat([Buffer.from(`*${words.length}\r\n`), ...parts]));
    return (await this.receive(1)).toString('latin1');
  }

  close(): void {
    this.socket.destroy();
  }

  #bytes(): Buffer {
    return Buffer.concat(this.#received);
  }

  #count(): number {
    let count = 0;
    const decoder = new ReplyDecoder({
      reply: () => {
        count++;
      },
    });
    decoder.push(this.#bytes());
    return count;
  }
}
