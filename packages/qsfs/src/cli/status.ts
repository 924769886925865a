// `qsfs status`: what is where, and what may still fail.
import { formatStatus, type StatusReport } from '../status.ts';
import { ask, DIRECTORY_OPTION, JSON_OPTION, layoutFor, report, type Verb } from './verb.ts';

export const status: Verb = {
  grammar: { verb: 'status', positionals: [], options: [DIRECTORY_OPTION, JSON_OPTION] },
  summary: 'backends, cache, what is offloaded and pending, failures still tolerated',
  details: [
    'Shows each backend with its state and space, how full the cache is, how much is on the backends and how much only here,',
    'and which further failures data and metadata survive now. Exit code 3 when no qsfs runs on the folder.',
  ],
  examples: ['qsfs status', 'qsfs status --dir /srv/qsfs --json'],
  async run(context, words) {
    const answer = (await ask(context, layoutFor(context, words), 'status')) as StatusReport;
    report(context, words, answer, () => formatStatus(answer));
    return 0;
  },
};
