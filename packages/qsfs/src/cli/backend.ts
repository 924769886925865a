// `qsfs backend list|stop|start|wipe`: the local backends, to play with failure. Works with and without a running qsfs.
import { localBackendsOf, readConfiguration } from '../configuration.ts';
import type { Context } from '../context.ts';
import { localStates } from '../control-service.ts';
import { QsfsError } from '../errors.ts';
import type { Layout } from '../layout.ts';
import { LocalBackends } from '../local-backends.ts';
import { type BackendReport, formatBackends, type StatusReport } from '../status.ts';
import type { Words } from './arguments.ts';
import { ask, DIRECTORY_OPTION, JSON_OPTION, layoutFor, report, type Verb } from './verb.ts';

export const backend: Verb = {
  grammar: {
    verb: 'backend',
    positionals: ['list|stop|start|wipe', '[NAME]'],
    options: [DIRECTORY_OPTION, JSON_OPTION],
  },
  summary: 'list, stop, start or empty the local backends',
  details: [
    'stop ends the process of a backend, start starts it again with what it had, wipe empties it, as if its disk had been',
    'replaced. They work whether qsfs runs or not. All local backends are started by "qsfs up".',
  ],
  examples: ['qsfs backend list', 'qsfs backend stop a1', 'qsfs backend start a1', 'qsfs backend wipe b2'],
  async run(context, words) {
    const layout = layoutFor(context, words);
    const [action = '', name] = words.positionals;
    if (action === 'list') return await list(context, words, layout);
    if (action !== 'stop' && action !== 'start' && action !== 'wipe') {
      throw new QsfsError(
        'QSFS_E_USAGE',
        `"qsfs backend" cannot ${action}`,
        'It can list, stop, start and wipe.',
      );
    }
    if (name === undefined)
      throw new QsfsError('QSFS_E_USAGE', `"qsfs backend ${action}" needs the NAME of a backend`);
    const configuration = readConfiguration(context.disk, layout.config);
    const local = new LocalBackends(context, localBackendsOf(configuration));
    const found = local.find(name);
    const line = await act(context, layout, local, action, found);
    const state = await local.state(found);
    report(context, words, { name, state }, () => [line]);
    return 0;
  },
};

async function act(
  context: Context,
  layout: Layout,
  local: LocalBackends,
  action: 'stop' | 'start' | 'wipe',
  found: ReturnType<LocalBackends['find']>,
): Promise<string> {
  const { name } = found;
  switch (action) {
    case 'stop':
      return (await local.stop(found)) ? `${name} is stopped` : `${name} was stopped already`;
    case 'start':
      if (!(await local.start(found))) return `${name} ran already`;
      if (!local.begunEmpty.has(name)) {
        // Whoever reads from now on finds that it is back.
        await ask(context, layout, 'backend-started', { name }).catch((error: unknown) => {
          if (!(error instanceof QsfsError)) throw error;
        });
        return `${name} runs`;
      }
      return `${name} runs and is empty; ${await tell(context, layout, name)}`;
    case 'wipe':
      await local.wipe(found);
      return `${name} was emptied; ${await tell(context, layout, name)}`;
  }
}

/** Has a running qsfs look at what an empty backend lacks. @returns what becomes of it */
async function tell(context: Context, layout: Layout, name: string): Promise<string> {
  try {
    await ask(context, layout, 'backend-wiped', { name });
  } catch (error) {
    if (!(error instanceof QsfsError) || error.code !== 'QSFS_E_NOT_RUNNING') throw error;
    return '"qsfs up" writes its part again';
  }
  return 'its part is written again as far as the other backends allow';
}

async function list(context: Context, words: Words, layout: Layout): Promise<number> {
  let backends: readonly BackendReport[];
  try {
    ({ backends } = (await ask(context, layout, 'status')) as StatusReport);
  } catch (error) {
    if (!(error instanceof QsfsError) || error.code !== 'QSFS_E_NOT_RUNNING') throw error;
    backends = await processes(context, layout);
  }
  report(context, words, backends, () => formatBackends(backends));
  return 0;
}

/** Without a running qsfs: only whether the processes run. */
async function processes(context: Context, layout: Layout): Promise<BackendReport[]> {
  const configuration = readConfiguration(context.disk, layout.config);
  const local = new LocalBackends(context, localBackendsOf(configuration));
  const states = await localStates(local);
  return local.backends.map(({ name, group, directory }) => ({
    name,
    group,
    role: 'data+metadata',
    address: directory,
    state: states.get(name) === 'running' ? 'up' : (states.get(name) ?? 'unknown'),
    reason: '',
    local: true,
    usedBytes: null,
    freeBytes: null,
  }));
}
