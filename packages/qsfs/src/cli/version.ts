// `qsfs version`.
import { dirname, join } from 'node:path';
import { readWhole } from '@qsfs/io';
import type { Verb } from './verb.ts';

/** Prints the version of the program. */
export const version: Verb = {
  grammar: { verb: 'version', positionals: [], options: [] },
  summary: 'print the version of the program',
  details: [],
  examples: ['qsfs version'],
  run(context) {
    const description = readWhole(context.disk, join(dirname(context.program), '../package.json'));
    const { version } = JSON.parse(Buffer.from(description!).toString()) as { version: string };
    context.print(`qsfs ${version}`);
    return Promise.resolve(0);
  },
};
