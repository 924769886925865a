// Worker threads and their message ports. `receive` answers without an event loop, for threads that block.
import { availableParallelism, setPriority } from 'node:os';
import {
  MessageChannel,
  type MessagePort,
  parentPort,
  receiveMessageOnPort,
  Worker,
  workerData,
} from 'node:worker_threads';

/** One end of a two-way channel between threads. Messages are structured-cloned; SharedArrayBuffers are shared. */
export interface Port {
  send(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  /** The next waiting message, or undefined; never blocks and needs no event loop. */
  receive(): unknown;
  /** Delivers messages from the event loop. */
  onMessage(call: (message: unknown) => void): void;
  close(): void;
}

/** An end of a channel that is still to be given to a thread, or to be made a port of this one. */
export type PortEnd = MessagePort;

/** A channel between two threads that both are not ours. */
export function openChannel(): readonly [PortEnd, PortEnd] {
  const { port1, port2 } = new MessageChannel();
  return [port1, port2];
}

/** A running thread. */
export interface Thread {
  readonly port: Port;
  /** Resolves with the exit code; rejects with the error that ended the thread. */
  readonly ended: Promise<number>;
  terminate(): Promise<void>;
  /** Lets the process end although the thread runs. */
  unref(): void;
}

/** Makes an end the port of this thread. */
export function wrapPort(port: MessagePort): Port {
  return {
    send: (message, transfer = []) => port.postMessage(message, [...transfer]),
    receive: () => (receiveMessageOnPort(port) as { message: unknown } | undefined)?.message,
    onMessage: (call) => void port.on('message', call),
    close: () => port.close(),
  };
}

/**
 * Starts a module on a thread of its own.
 * @param module file URL of the module to run
 * @param input what `threadInput()` gives there; structured-cloned
 * @param niceness above 0: the thread gives way to others, as nice(1) has processes do; set by its `threadInput()`
 * @param peer end of a channel to a third thread; given away
 */
export function startThread(module: URL, input: unknown, niceness = 0, peer?: PortEnd): Thread {
  const { port1, port2 } = new MessageChannel();
  const worker = new Worker(module, {
    workerData: { input, niceness, port: port2, peer },
    transferList: [port2, ...(peer ? [peer] : [])],
  });
  const ended = new Promise<number>((resolve, reject) => {
    worker.once('error', reject);
    worker.once('exit', resolve);
  });
  ended.catch(() => {});
  return {
    port: wrapPort(port1),
    ended,
    terminate: async () => void (await worker.terminate()),
    unref: () => {
      worker.unref();
      port1.unref();
    },
  };
}

/** Inside a thread started by `startThread`: its input and its ports. @throws Error on the main thread */
export function threadInput(): { input: unknown; port: Port; peer: Port | undefined } {
  if (!parentPort) throw new Error('threadInput is for threads started by startThread');
  const data = workerData as {
    input: unknown;
    niceness: number;
    port: MessagePort;
    peer: MessagePort | undefined;
  };
  // On Linux this is the priority of the calling thread alone (setpriority(2), "C library/kernel differences").
  if (data.niceness > 0) setPriority(data.niceness);
  return { input: data.input, port: wrapPort(data.port), peer: data.peer && wrapPort(data.peer) };
}

/** Threads of this process that can run at the same time: processors it may use, at least 1. */
export function availableProcessors(): number {
  return availableParallelism();
}
