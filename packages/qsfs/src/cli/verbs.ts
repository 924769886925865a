// The table of commands.
import { backend } from './backend.ts';
import { down } from './down.ts';
import { evict } from './evict.ts';
import { helpFor } from './help.ts';
import { restoreVerb } from './restore.ts';
import { status } from './status.ts';
import { sync } from './sync.ts';
import { up } from './up.ts';
import type { Verb } from './verb.ts';
import { version } from './version.ts';

/** All commands, in the order of the help. */
export const VERBS: readonly Verb[] = [
  up,
  status,
  sync,
  evict,
  backend,
  restoreVerb,
  down,
  version,
  helpFor(() => VERBS),
];
