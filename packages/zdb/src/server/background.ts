// `--background`: the server goes on in a child of its own, and the command returns when it serves (specification section 1.4).
//
// Node cannot fork, so the command starts itself again with `--report-to SOCKET`. Over that socket the child sends its log lines until
// it is ready; the parent prints them, and returns the child's exit code when it ends before. The child's standard output and error
// are the log file, or nothing, from the start, so that hooks inherit nothing of the parent.
import type { Connection } from '@qsfs/io';
import type { Machine } from './machine.ts';
import type { CommandLine } from './options.ts';

/** What the child says when it serves. */
const READY = '\0';
const CONNECT_MS = 5000;

/** Starts the server in the background. @returns the exit code of the command: 0 when the server serves */
export async function runInBackground(
  words: readonly string[],
  line: CommandLine,
  machine: Machine,
): Promise<number> {
  const { disk, network, processes, random } = machine;
  const socket = `/tmp/zdb-${processes.pid}-${Buffer.from(random.bytes(8)).toString('hex')}.sock`;
  const log = line.logFile === undefined ? undefined : disk.open(line.logFile, 'create', 0o644);
  log?.truncate(0);
  let ready: () => void = () => {};
  const served = new Promise<'ready'>((resolve) => {
    ready = () => resolve('ready');
  });
  const listener = await network.listen({ path: socket }, (connection) => {
    connection.start({
      data: (chunk) => {
        const text = Buffer.from(chunk).toString();
        machine.output(text.replaceAll(READY, ''));
        if (text.includes(READY)) ready();
      },
      drained: () => {},
      closed: () => {},
    });
  });
  try {
    const sink = log?.descriptor ?? 'ignore';
    const child = processes.start(
      processes.nodePath,
      [...processes.nodeFlags, machine.programPath, ...words, '--report-to', socket],
      { streams: ['ignore', sink, sink], detached: true },
    );
    const outcome = await Promise.race([served, child.ended]);
    if (outcome !== 'ready') return outcome.exitCode;
    machine.output(`${child.pid}\n`);
    return 0;
  } finally {
    await listener.close();
    log?.close();
    if (disk.stat(socket)) disk.remove(socket);
  }
}

/** The child's line to the command that started it. */
export class Report {
  #connection: Connection | undefined;

  private constructor(connection: Connection) {
    this.#connection = connection;
    connection.start({
      data: () => {},
      drained: () => {},
      closed: () => {
        this.#connection = undefined;
      },
    });
  }

  static async open(machine: Machine, socket: string): Promise<Report> {
    return new Report(await machine.network.connect({ path: socket }, CONNECT_MS));
  }

  line(text: string): void {
    this.#connection?.write([Buffer.from(text)]);
  }

  ready(): void {
    this.line(READY);
    this.#connection?.end();
    this.#connection = undefined;
  }
}
