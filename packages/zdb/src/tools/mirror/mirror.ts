// `zdb mirror`: copies a namespace to another server, deletions and times included, and goes on from where it stopped.
//
// It reads the source's data files by position (DATA RAW) and writes with times (SET and DEL with timestamp), so it needs admin rights on
// both. What it does with the log depends on the mode of the namespace: mirror-user.ts, mirror-seq.ts. How far it has come is kept in
// a state file (mirror-state.ts), written after the target has answered.
import { type Address, parseAddress } from '@qsfs/io';
import { ConnectionError, RespError, ZdbClient } from '@qsfs/resp';
import type { Machine } from '../../server/machine.ts';
import { TOOL_EXIT, type Tool, ToolError, type ToolRequest } from '../tool.ts';
import { isBefore, nextIdIn, SourceLog } from './mirror-log.ts';
import { SeqMirror } from './mirror-seq.ts';
import { freshState, loadState, type MirrorState, saveState } from './mirror-state.ts';
import { UserMirror } from './mirror-user.ts';

/** The tool. */
export const MIRROR: Tool = {
  name: 'mirror',
  summary: 'copy a namespace to another server, incrementally',
  words: '--source ADDRESS --target ADDRESS [options]',
  options: [
    { name: 'source', argument: 'ADDRESS', help: 'host:port or unix:path' },
    { name: 'target', argument: 'ADDRESS', help: 'host:port or unix:path' },
    {
      name: 'namespace',
      argument: 'NAME',
      help: 'the namespace on both (default "default"); made on the target if missing',
    },
    { name: 'source-admin', argument: 'PASSWORD', help: 'admin password of the source' },
    { name: 'target-admin', argument: 'PASSWORD', help: 'admin password of the target' },
    { name: 'password', argument: 'PASSWORD', help: 'password of the namespace on both' },
    {
      name: 'state',
      argument: 'FILE',
      help: 'where the position is kept (default ./zdb-mirror-NAMESPACE.json)',
    },
    { name: 'follow', help: 'go on for ever: copy what comes as it comes' },
  ],
  notes: [
    'Run it again and it goes on from where it stopped, also after kill -9 of the mirror or a server, and after a COMPACT of the source.',
    'Keys that were deleted on the source go on the target. A user namespace is copied with the versions of its keys, a sequential one as it is.',
    'A sequential namespace must be new on the target, so that the ids come out the same; nobody else may write to it.',
    'A source that was replaced (FLUSH, NSDEL, another directory) is noticed: a user namespace is then made the same, a sequential one',
    'is left alone: remove it on the target to have it copied from the beginning. Exit codes: 1 refused, 3 damaged records on the source.',
    '',
    'Example: zdb mirror --source 10.0.0.1:9900 --target 10.0.0.2:9900 --namespace photos --follow',
  ],
  run: mirror,
};

const LOOK_AGAIN_MS = 1000;
const RETRY_MS = 2000;

async function mirror(request: ToolRequest, machine: Machine): Promise<number> {
  const namespace = request.value('namespace') ?? 'default';
  const path = request.value('state') ?? `./zdb-mirror-${namespace.replaceAll('/', '_')}.json`;
  const stopping = { now: false };
  const undo = [
    machine.processes.onSignal('SIGINT', () => void (stopping.now = true)),
    machine.processes.onSignal('SIGTERM', () => void (stopping.now = true)),
  ];
  try {
    for (;;) {
      // Each time from what the target has answered: what was under way may not have arrived.
      const fresh = freshState(request.required('source'), request.required('target'), namespace);
      const state = loadState(machine, path, fresh);
      try {
        return await copy(request, machine, state, path, stopping);
      } catch (error) {
        if (!(error instanceof ConnectionError) || !request.has('follow') || stopping.now) throw error;
        machine.errors(`${error.message}; trying again\n`);
        await machine.clock.sleep(RETRY_MS);
      }
    }
  } finally {
    for (const call of undo) call();
  }
}

/** Copies what the source has, or for ever. @returns the exit code */
async function copy(
  request: ToolRequest,
  machine: Machine,
  state: MirrorState,
  path: string,
  stopping: { readonly now: boolean },
): Promise<number> {
  const { namespace } = state;
  const source = await connect(request, machine, 'source');
  let target: ZdbClient | undefined;
  try {
    target = await connect(request, machine, 'target');
    const isSequential = await prepare(source, target, namespace, request.value('password'));
    const log = new SourceLog(source, namespace);
    let isDamaged = false;
    const tellDamaged = (what: string): void => {
      isDamaged = true;
      machine.errors(`${namespace}: ${what} until it is written anew\n`);
    };
    const save = (): void => saveState(machine, path, state);
    const isNew = machine.disk.stat(path) === undefined;
    const parts = { source, target, log, state, save, stopping };
    const damagedRecord = (id: number): void =>
      tellDamaged(`record ${id} is damaged on the source; it is empty on the target`);
    const damagedKey = (key: Uint8Array): void =>
      tellDamaged(
        `${JSON.stringify(Buffer.from(key).toString())} is damaged on the source; the target keeps what it has of it`,
      );
    const copier = isSequential
      ? new SeqMirror({ ...parts, damaged: damagedRecord }, isNew)
      : new UserMirror({ ...parts, damaged: damagedKey });
    await copier.pass();
    for (let told = 0; !stopping.now; ) {
      if (copier.dropped > told) {
        machine.output(`${copier.dropped - told} keys that the source does not have removed\n`);
        told = copier.dropped;
      }
      if (!request.has('follow')) break;
      await machine.clock.sleep(LOOK_AGAIN_MS);
      const end = await log.end();
      if (isBefore(state, end) || isBefore(end, state)) await copier.pass();
    }
    machine.output(
      `${namespace}: ${copier.copied} entries copied, now at ${state.offset} of d${state.file}\n`,
    );
    return isDamaged ? TOOL_EXIT.damaged : TOOL_EXIT.ok;
  } finally {
    source.close();
    target?.close();
  }
}

async function connect(
  request: ToolRequest,
  machine: Machine,
  side: 'source' | 'target',
): Promise<ZdbClient> {
  let address: Address;
  try {
    address = parseAddress(request.required(side));
  } catch (error) {
    if (error instanceof RangeError) throw new ToolError(`--${side}: ${error.message}`);
    throw error;
  }
  const adminPassword = request.value(`${side}-admin`);
  try {
    return await ZdbClient.connect(machine.network, machine.clock, {
      address,
      login: adminPassword === undefined ? {} : { adminPassword, secure: true },
    });
  } catch (error) {
    if (error instanceof RespError)
      throw new ToolError(`the ${side} refuses --${side}-admin: ${error.message}`);
    throw error;
  }
}

/**
 * Makes the namespace on the target when it is missing, with the source's mode and password, and enters it on both.
 * @returns whether it is sequential
 */
async function prepare(
  source: ZdbClient,
  target: ZdbClient,
  name: string,
  password: string | undefined,
): Promise<boolean> {
  const info = await allowed('source', source.namespaceInfo(name));
  if (info === undefined) throw new ToolError(`the source has no namespace ${name}`);
  const isSequential = info.get('mode') === 'sequential';
  const known = await allowed('target', target.namespaceInfo(name));
  if (known === undefined) await allowed('target', target.createNamespace(name));
  // One that was never written to: made here, or by a mirror that was killed before it had set it up.
  if (known === undefined || (nextIdIn(known) === 0 && name !== 'default')) {
    const mode = isSequential ? 'seq' : 'user';
    if (isSequential !== (known?.get('mode') === 'sequential'))
      await allowed('target', target.configureNamespace(name, { mode }));
    if (password !== undefined && known?.get('password') !== 'yes') {
      await allowed(
        'target',
        target.configureNamespace(name, { password, public: info.get('public') === 'yes' }),
      );
    }
  } else if (known.get('mode') !== info.get('mode')) {
    throw new ToolError(
      `namespace ${name} is ${known.get('mode')} on the target and ${info.get('mode')} on the source`,
    );
  }
  await allowed('source', source.select(name, password));
  await allowed('target', target.select(name, password));
  return isSequential;
}

/** What a server answers. @throws ToolError that says which one refuses, and what it wants */
async function allowed<T>(side: 'source' | 'target', answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (!(error instanceof RespError)) throw error;
    const hint = error.message === 'Permission denied' ? `: give --${side}-admin PASSWORD` : '';
    throw new ToolError(`the ${side} answers "${error.message}"${hint}`);
  }
}
