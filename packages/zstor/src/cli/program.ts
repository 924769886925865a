// The program `zstor`: reads the command line and the configuration, runs one command, and gives an exit code.
import { basename, dirname, join, resolve } from 'node:path';
import { errorCode, readWhole } from '@qsfs/io';
import { parseConfig } from '../config/parse.ts';
import type { ZstorConfig } from '../config/types.ts';
import { messageOf, ZstorError } from '../errors.ts';
import { openZstor } from '../index.ts';
import { notFound } from '../object/rebuilder.ts';
import type { Capabilities, CheckReport, ObjectRecord, Zstor } from '../types.ts';
import { type Arguments, helpText, parseArguments } from './arguments.ts';
import { type NameRules, objectName, resolvedPath } from './object-names.ts';
import { ProgressLine } from './progress.ts';
import { statusText } from './status-tables.ts';

/** What the program needs of its surroundings. */
export interface Surroundings extends Omit<Capabilities, 'log' | 'maintenance' | 'repairList'> {
  readonly workingDirectory: string;
  readonly version: string;
  readonly output: (text: string) => void;
  readonly errors: (text: string) => void;
  /** Whether somebody looks at `errors`. */
  readonly isTerminal: boolean;
}

const DEFAULT_CONFIG = 'zstor_config.toml';

/**
 * Runs one command line.
 * @param words the command line without the program's name
 * @returns the exit code (src/errors.ts)
 */
export async function runProgram(words: readonly string[], surroundings: Surroundings): Promise<number> {
  try {
    const parsed = parseArguments(words);
    if (parsed.flags.has('help') || (parsed.command === '' && words.length === 0)) {
      surroundings.output(helpText(parsed.command));
      return 0;
    }
    if (parsed.flags.has('version')) {
      surroundings.output(`zstor ${surroundings.version}\n`);
      return 0;
    }
    if (parsed.command === '')
      throw new ZstorError('QSFS_E_USAGE', 'a command is missing', 'zstor --help shows all commands');
    const config = readConfig(parsed.values.get('config') ?? DEFAULT_CONFIG, surroundings);
    return await new Invocation(parsed, config, surroundings).run();
  } catch (error) {
    if (!(error instanceof ZstorError)) throw error;
    surroundings.errors(`Error: ${error.message}${error.hint === '' ? '' : `\n  ${error.hint}`}\n`);
    return error.exitCode;
  }
}

function readConfig(path: string, { disk, workingDirectory }: Surroundings): ZstorConfig {
  const absolute = resolve(workingDirectory, path);
  let content: Uint8Array | undefined;
  try {
    content = readWhole(disk, absolute);
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
    throw new ZstorError('QSFS_E_CONFIG', `the configuration cannot be read: ${messageOf(error)}`);
  }
  if (!content && disk.stat(absolute)) {
    throw new ZstorError(
      'QSFS_E_CONFIG',
      `${absolute} is no file`,
      'name the configuration with: zstor -c FILE',
    );
  }
  if (!content) {
    throw new ZstorError(
      'QSFS_E_CONFIG',
      `there is no configuration ${absolute}`,
      'name it with: zstor -c FILE',
    );
  }
  try {
    return parseConfig(Buffer.from(content).toString('utf8'), dirname(absolute));
  } catch (error) {
    if (!(error instanceof ZstorError)) throw error;
    throw new ZstorError(error.code, `${absolute}: ${error.message}`, error.hint, error);
  }
}

/** One command being run. */
class Invocation {
  readonly #arguments: Arguments;
  readonly #config: ZstorConfig;
  readonly #world: Surroundings;
  readonly #names: NameRules;
  readonly #quiet: boolean;

  constructor(parsed: Arguments, config: ZstorConfig, world: Surroundings) {
    this.#arguments = parsed;
    this.#config = config;
    this.#world = world;
    this.#names = { disk: world.disk, workingDirectory: world.workingDirectory, root: config.root };
    this.#quiet = parsed.flags.has('quiet');
  }

  async run(): Promise<number> {
    this.#requireOptions();
    const zstor = await openZstor(this.#config, {
      ...this.#world,
      log: (level, message) => this.#log(level, message),
    });
    try {
      switch (this.#arguments.command) {
        case 'store':
          return await this.#store(zstor);
        case 'retrieve':
          return await this.#retrieve(zstor);
        case 'check':
          return await this.#check(zstor);
        case 'rebuild':
          return await this.#rebuild(zstor);
        case 'delete':
          return await this.#delete(zstor);
        case 'list':
          return await this.#list(zstor);
        case 'repair':
          return await this.#repair(zstor);
        case 'status':
          return await this.#status(zstor);
        case 'test':
          return await this.#test(zstor);
        default:
          throw new Error(`command ${this.#arguments.command} is in the table and nowhere else`);
      }
    } finally {
      await zstor.close();
    }
  }

  /** What is missing on the command line is told before anything is contacted. */
  #requireOptions(): void {
    const { command, values } = this.#arguments;
    if (['store', 'retrieve', 'check', 'delete'].includes(command)) this.#file();
    if (command === 'rebuild' && values.has('file') === values.has('key')) {
      throw new ZstorError('QSFS_E_USAGE', 'rebuild needs either --file PATH or --key NAME');
    }
  }

  #file(): string {
    const file = this.#arguments.values.get('file');
    if (file === undefined)
      throw new ZstorError('QSFS_E_USAGE', `${this.#arguments.command} needs --file PATH`);
    return file;
  }

  async #store(zstor: Zstor): Promise<number> {
    const path = resolvedPath(this.#file(), this.#names);
    const { disk } = this.#world;
    const status = disk.stat(path);
    if (!status) throw new ZstorError('QSFS_E_LOCAL', `there is no file ${path}`);
    if (status.kind === 'file') {
      await this.#storeFile(zstor, path);
      return 0;
    }
    if (status.kind !== 'directory')
      throw new ZstorError('QSFS_E_LOCAL', `${path} is neither a file nor a directory`);
    let worst = 0;
    for (const name of disk.list(path)) {
      if (disk.stat(join(path, name))?.kind !== 'file') continue;
      try {
        await this.#storeFile(zstor, join(path, name));
      } catch (error) {
        if (!(error instanceof ZstorError) || this.#arguments.flags.has('error-on-failure')) throw error;
        this.#world.errors(`Error: ${join(path, name)}: ${error.message}\n`);
        worst = error.exitCode;
      }
    }
    return worst;
  }

  async #storeFile(zstor: Zstor, path: string): Promise<void> {
    const { disk } = this.#world;
    const name = objectName(path, this.#names, this.#arguments.values.get('key-path'));
    const before = disk.stat(path);
    if (!before) throw new ZstorError('QSFS_E_LOCAL', `there is no file ${path}`);
    const progress = this.#progress(basename(path), before.sizeBytes);
    let record = await zstor
      .put(
        name,
        { path, lengthBytes: before.sizeBytes },
        { progress: (doneBytes) => progress.update(doneBytes), watchSource: true },
      )
      .finally(() => progress.end());
    if (record.missingShards > 0) record = await this.#completed(zstor, record);
    if (record.missingShards > 0) {
      const tolerance = zstor.tolerance(record).backends;
      this.#log(
        'warning',
        `${path}: ${record.missingShards} shards have no backend yet; survives the loss of ${tolerance} more; run: zstor repair`,
      );
    }
    if (this.#arguments.flags.has('json')) this.#world.output(`${JSON.stringify(recordJson(record))}\n`);
    if (this.#arguments.flags.has('delete')) disk.remove(path);
  }

  /** Some backend did not take its shards: a disk that stalled for a second will have gone on by now. */
  async #completed(zstor: Zstor, record: ObjectRecord): Promise<ObjectRecord> {
    try {
      await zstor.inspect(); // asks those that were down
      return (await zstor.rebuild(record.name)).record;
    } catch (error) {
      // It is stored, and what it lacks is told.
      if (!(error instanceof ZstorError)) throw error;
      this.#log('info', error.message);
      return record;
    }
  }

  async #retrieve(zstor: Zstor): Promise<number> {
    const file = this.#file();
    const name = objectName(file, this.#names);
    const target = resolve(this.#world.workingDirectory, this.#arguments.values.get('output') ?? file);
    const record = await zstor.head(name);
    if (!record) throw notFound(name);
    const progress = this.#progress(basename(target), record.sizeBytes);
    await zstor
      .retrieve(name, target, { progress: (doneBytes) => progress.update(doneBytes) })
      .finally(() => progress.end());
    return 0;
  }

  async #check(zstor: Zstor): Promise<number> {
    const name = objectName(this.#file(), this.#names);
    const isJson = this.#arguments.flags.has('json');
    const record = await zstor.head(name);
    if (!record) {
      // As in the reference: not stored is an answer, not an error.
      if (isJson) this.#world.output(`${JSON.stringify({ name, found: false })}\n`);
      return 0;
    }
    const report = await zstor.check(record, { deep: this.#arguments.flags.has('deep') });
    if (isJson) this.#world.output(`${JSON.stringify(checkJson(report))}\n`);
    else this.#world.output(`${Buffer.from(record.objectId).toString('hex')}\n`);
    if (report.verdict === 'degraded') {
      this.#log(
        'warning',
        `${name}: readable, ${report.badShards} shards bad, ${report.unreachableShards} out of reach; run: zstor rebuild`,
      );
    }
    if (report.verdict === 'complete' || report.verdict === 'degraded') return 0;
    const isLost = report.unreachableShards === 0;
    throw new ZstorError(
      isLost ? 'QSFS_E_DAMAGED' : 'QSFS_E_UNAVAILABLE',
      `${name}: ${report.unreadableStripes} of ${record.stripeCount} stripes cannot be read now: ${report.badShards} shards bad, ${report.unreachableShards} out of reach`,
      isLost ? '' : 'bring backends back (zstor status names them)',
    );
  }

  async #rebuild(zstor: Zstor): Promise<number> {
    const { values, flags } = this.#arguments;
    const name = values.get('key') ?? objectName(this.#file(), this.#names);
    const report = await zstor.rebuild(name, { deep: flags.has('deep') });
    const { rewrittenShards, missingShards, unreachableShards, reason } = report;
    if (flags.has('json'))
      this.#world.output(
        `${JSON.stringify({ name, rewrittenShards, missingShards, unreachableShards, reason })}\n`,
      );
    if (missingShards > 0)
      this.#log('warning', `${name}: ${missingShards} shards are still missing: ${reason}`);
    if (unreachableShards > 0)
      this.#log(
        'warning',
        `${name}: ${unreachableShards} shards were neither looked at nor moved, their backends do not answer${reason === '' ? '' : `: ${reason}`}`,
      );
    return 0;
  }

  async #delete(zstor: Zstor): Promise<number> {
    const name = objectName(this.#file(), this.#names);
    if (!(await zstor.delete(name))) throw notFound(name);
    return 0;
  }

  async #list(zstor: Zstor): Promise<number> {
    for await (const summary of zstor.list(this.#arguments.operand ?? '')) {
      if (this.#arguments.flags.has('json')) this.#world.output(`${JSON.stringify(summary)}\n`);
      else this.#world.output(`${printable(summary.name)}\n`);
    }
    return 0;
  }

  async #repair(zstor: Zstor): Promise<number> {
    const report = await zstor.repairPending();
    if (this.#arguments.flags.has('json')) {
      this.#world.output(`${JSON.stringify(report)}\n`);
    } else {
      const { repairedObjects, rewrittenShards, refreshedRecords } = report;
      this.#world.output(
        `repaired ${repairedObjects} files (${rewrittenShards} shards), refreshed ${refreshedRecords} records\n`,
      );
      for (const { name, reason } of report.failures) this.#world.errors(`${printable(name)}: ${reason}\n`);
    }
    if (report.failures.length === 0) return 0;
    throw new ZstorError(
      'QSFS_E_UNAVAILABLE',
      `${report.failures.length} could not be repaired in full now`,
      'run it again when more backends answer',
    );
  }

  async #status(zstor: Zstor): Promise<number> {
    const status = await zstor.status({ objects: true });
    this.#world.output(
      this.#arguments.flags.has('json') ? `${JSON.stringify(status)}\n` : statusText(status),
    );
    const { data, metadata } = status;
    if (metadata.readable && data.tolerance.backends >= 0) return 0;
    throw new ZstorError(
      'QSFS_E_UNAVAILABLE',
      `nothing can be read now: too few ${metadata.readable ? 'data backends' : 'metadata stores'} answer`,
      'bring back those that are not up',
    );
  }

  /** Succeeds when there is something to work with; single dead backends are a warning (defect D36). */
  async #test(zstor: Zstor): Promise<number> {
    const { backends, data, metadata } = await zstor.status();
    for (const { name, state, reason } of backends) {
      if (state !== 'up' || reason !== '') this.#log('warning', `${name}: ${reason}`);
    }
    const problems = [data.writable ? '' : data.reason, metadata.writable ? '' : metadata.reason].filter(
      Boolean,
    );
    if (problems.length === 0) return 0;
    throw new ZstorError('QSFS_E_UNAVAILABLE', problems.join('; '), 'zstor status shows every backend');
  }

  #progress(label: string, totalBytes: number): ProgressLine {
    const { clock, errors, isTerminal } = this.#world;
    return new ProgressLine(label, totalBytes, clock, isTerminal && !this.#quiet ? errors : undefined);
  }

  #log(level: 'info' | 'warning' | 'error', message: string): void {
    const logFile = this.#arguments.values.get('log_file');
    if (logFile !== undefined) this.#appendLog(logFile, level, message);
    if (this.#quiet || (level === 'info' && !this.#arguments.flags.has('debug'))) return;
    this.#world.errors(`${level === 'info' ? '' : `${level}: `}${message}\n`);
  }

  #appendLog(path: string, level: string, message: string): void {
    const { disk, clock, workingDirectory } = this.#world;
    const file = disk.open(resolve(workingDirectory, path), 'create', 0o644);
    try {
      const line = `${new Date(clock.nowMs()).toISOString()} ${level.toUpperCase()} ${message}\n`;
      file.write(Buffer.from(line), file.size());
    } finally {
      file.close();
    }
  }
}

/** Names may hold anything; on a line of their own they must not break it. */
function printable(name: string): string {
  return /\p{Cc}/u.test(name) ? JSON.stringify(name) : name;
}

function recordJson(record: ObjectRecord): Record<string, unknown> {
  const { name, sizeBytes, stripeCount, stripeSizeBytes, minimalShards, expectedShards, storedMs } = record;
  return {
    name,
    objectId: Buffer.from(record.objectId).toString('hex'),
    sizeBytes,
    stripeCount,
    stripeSizeBytes,
    minimalShards,
    expectedShards,
    storedMs,
    storedBytes: record.storedBytes,
    missingShards: record.missingShards,
    verification: record.verification,
  };
}

function checkJson(report: CheckReport): Record<string, unknown> {
  const { goodShards, badShards, unreachableShards, unreadableStripes, verdict, method } = report;
  return {
    found: true,
    ...recordJson(report.record),
    goodShards,
    badShards,
    unreachableShards,
    unreadableStripes,
    verdict,
    method,
  };
}
