// Where everything is below the state folder DIR. Deleting `frontend/` is "the fire": what is left in DIR is what a
// user would still have on other machines (the configuration, the backends).
import { join } from 'node:path';

/** Paths of one state folder; all absolute when `root` is. */
export interface Layout {
  readonly root: string;
  readonly config: string;
  readonly frontend: string;
  /** Index files and data files of the embedded engine. */
  readonly index: string;
  readonly data: string;
  /** Stripe bitmaps of closed data files, one table a namespace (docs/formats/frontend.md). */
  readonly presence: string;
  /** What is on the backends, one table a namespace. */
  readonly catalog: string;
  /** Copies of index files on their way to the backends. */
  readonly staging: string;
  /** Who this frontend is: volume, frontend id, epoch. */
  readonly identity: string;
  /** What a restored frontend followed; there only until it has the lease. */
  readonly claim: string;
  /** A copy of the newest manifest that is on the backends. */
  readonly manifest: string;
  /** What each data backend was when all objects were whole (emptied-backends.ts). */
  readonly incarnations: string;
  /** Objects that need repair, one name a line. */
  readonly repairs: string;
  readonly controlSocket: string;
  /** Locked by whoever makes or serves the folder (folder-lock.ts). */
  readonly folderLock: string;
  /** Locked by the running process. */
  readonly lock: string;
  readonly log: string;
  /** Present while a restore is under way: what is in `frontend` then is not a frontend yet. */
  readonly restoring: string;
  readonly backends: string;
}

/** The layout below a state folder. */
export function layoutOf(root: string): Layout {
  const frontend = join(root, 'frontend');
  return {
    root,
    config: join(root, 'qsfs.toml'),
    frontend,
    index: join(frontend, 'index'),
    data: join(frontend, 'data'),
    presence: join(frontend, 'presence'),
    catalog: join(frontend, 'catalog'),
    staging: join(frontend, 'staging'),
    identity: join(frontend, 'identity'),
    claim: join(frontend, 'claim'),
    manifest: join(frontend, 'manifest'),
    incarnations: join(frontend, 'incarnations'),
    repairs: join(frontend, 'repairs'),
    controlSocket: join(frontend, 'control.sock'),
    folderLock: join(root, 'lock'),
    lock: join(frontend, 'lock'),
    log: join(frontend, 'log'),
    restoring: join(frontend, 'restoring'),
    backends: join(root, 'backends'),
  };
}
