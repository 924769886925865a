// Where the tests of mounting without being root run. As root: in a mount namespace of their own, whose /dev/fuse may be used
// by everybody (as on an ordinary machine) and whose /etc/fuse.conf is ours, so that nothing of the machine is changed.
// Not root: on the machine as it is.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Place } from './mounted.ts';

/** A user that is not root. */
const SOMEBODY = 65534;
const ROOT = process.getuid?.() === 0;
// $1: folder for a private file system with the device, $2: the configuration.
const SETUP = `set -e
mount -t tmpfs -o mode=755 none "$1"
mknod -m 666 "$1/fuse" c 10 229
mount --bind "$1/fuse" /dev/fuse
if [ -e /etc/fuse.conf ]; then mount --bind "$2" /etc/fuse.conf; fi
echo ready
exec cat`;

/** See above. */
export class Namespace {
  static #made = 0;
  readonly #holder: ChildProcess | undefined;
  readonly #pid: number | 'self';

  private constructor(holder: ChildProcess | undefined) {
    this.#holder = holder;
    this.#pid = holder?.pid ?? 'self';
  }

  /** @param configuration contents of /etc/fuse.conf, where we can choose */
  static async create(place: Place, configuration: string): Promise<Namespace> {
    if (!ROOT) return new Namespace(undefined);
    const conf = join(place.folder, `fuse-${Namespace.#made++}.conf`);
    writeFileSync(conf, configuration, { mode: 0o644 });
    const parameters = ['-m', '--propagation', 'private', 'sh', '-c', SETUP, 'sh', place.privateFolder, conf];
    const holder = spawn('unshare', parameters, { stdio: ['pipe', 'pipe', 'inherit'] });
    const ready = await new Promise<boolean>((resolve) => {
      holder.stdout.once('data', () => resolve(true));
      holder.once('exit', () => resolve(false));
    });
    assert.ok(ready, 'a mount namespace cannot be made here');
    return new Namespace(holder);
  }

  /** Words in front of a command that make it run in here, still as root. */
  get prefix(): string[] {
    return this.#holder ? ['nsenter', '-t', `${this.#pid}`, '-m', '--'] : [];
  }

  /** Who the server must become, as settings for it. */
  get user(): { readonly userId?: number } {
    return ROOT ? { userId: SOMEBODY } : {};
  }

  isMounted(place: Place): boolean {
    return place.isMountedFor(this.#pid);
  }

  /** Runs a shell script in here as somebody who is not root. */
  run(script: string, ...parameters: string[]) {
    const become = ROOT
      ? ['setpriv', '--reuid', `${SOMEBODY}`, '--regid', `${SOMEBODY}`, '--clear-groups']
      : [];
    const [command, ...rest] = [...this.prefix, ...become, 'sh', '-c', script, 'sh', ...parameters];
    return spawnSync(command as string, rest, { encoding: 'utf8' });
  }

  /** The same as root. */
  runAsRoot(script: string, ...parameters: string[]) {
    const [command, ...rest] = [...this.prefix, 'sh', '-c', script, 'sh', ...parameters];
    return spawnSync(command as string, rest, { encoding: 'utf8' });
  }

  async close(): Promise<void> {
    const holder = this.#holder;
    if (!holder) return;
    const gone = new Promise((resolve) => holder.once('exit', resolve));
    holder.stdin?.end();
    await gone;
  }
}
