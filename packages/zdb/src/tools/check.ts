// `zdb check`: walks data and index files of either origin and says what is damaged. Changes nothing.
import type { Disk, DiskFile } from '@qsfs/io';
import { DATA_HEADER_BYTES, isDataHeader } from '../engine/format/data-format.ts';
import { DataScanner } from '../engine/format/data-scanner.ts';
import { looksHollow } from '../engine/hollow.ts';
import type { Machine } from '../server/machine.ts';
import { type IndexFileEntry, numberedFiles, openIndexFile } from './index-file.ts';
import { OffsetList } from './offset-list.ts';
import { printable, TOOL_EXIT, type Tool, ToolError, type ToolRequest } from './tool.ts';

/** The tool. */
export const CHECK: Tool = {
  name: 'check',
  summary: 'verify headers, bounds and checksums of all files; changes nothing',
  words: '--data DIR --index DIR [--namespace NAME] [--json]   or   zdb check DATAFILE',
  options: [
    { name: 'data', argument: 'DIR', help: 'root of the data files' },
    { name: 'index', argument: 'DIR', help: 'root of the index files' },
    { name: 'namespace', argument: 'NAME', help: 'only this one' },
    { name: 'json', help: 'report as JSON' },
  ],
  notes: [
    'Exit code: 0 everything is intact, 3 something is damaged, 1 it could not be checked.',
    'On the files of a running server the last entries may look incomplete.',
  ],
  run: check,
};

/** One thing that is wrong. */
interface Problem {
  readonly path: string;
  readonly offset: number;
  readonly what: string;
}

/** What was found in one namespace, or one file. */
interface Findings {
  readonly name: string;
  dataFiles: number;
  dataEntries: number;
  dataBytes: number;
  indexEntries: number;
  liveEntries: number;
  readonly missingDataFiles: number[];
  readonly problems: Problem[];
}

function check(request: ToolRequest, machine: Machine): number {
  const { disk } = machine;
  const reports: Findings[] = [];
  const [file] = request.words;
  if (file !== undefined) {
    const findings = emptyFindings(file);
    checkDataFile(disk, file, findings);
    reports.push(findings);
  } else {
    const indexRoot = request.required('index');
    for (const name of namespaceNames(disk, indexRoot, request.value('namespace'))) {
      reports.push(checkNamespace(disk, name, `${request.required('data')}/${name}`, `${indexRoot}/${name}`));
    }
  }
  machine.output(request.has('json') ? `${JSON.stringify(reports, undefined, 2)}\n` : textOf(reports));
  return reports.some(({ problems }) => problems.length > 0) ? TOOL_EXIT.damaged : TOOL_EXIT.ok;
}

function namespaceNames(disk: Disk, indexRoot: string, only: string | undefined): string[] {
  if (disk.stat(indexRoot)?.kind !== 'directory') throw new ToolError(`${indexRoot} is no directory`);
  const names = disk
    .list(indexRoot)
    .filter((name) => disk.stat(`${indexRoot}/${name}`)?.kind === 'directory');
  if (only === undefined) return names;
  if (!names.includes(only)) throw new ToolError(`there is no namespace ${only} in ${indexRoot}`);
  return [only];
}

function emptyFindings(name: string): Findings {
  return {
    name,
    dataFiles: 0,
    dataEntries: 0,
    dataBytes: 0,
    indexEntries: 0,
    liveEntries: 0,
    missingDataFiles: [],
    problems: [],
  };
}

/** Offsets of the data entries of one data file that index entries name: live ones, and flagged ones. */
interface NamedOffsets {
  readonly live: OffsetList;
  readonly flagged: OffsetList;
}

type Named = Map<number, NamedOffsets>;

/** A record that no index entry names. */
interface Unnamed {
  readonly file: number;
  readonly offset: number;
  readonly key: Uint8Array;
}

function checkNamespace(disk: Disk, name: string, dataDirectory: string, indexDirectory: string): Findings {
  const findings = emptyFindings(name);
  const named: Named = new Map();
  const files = numberedFiles(disk, indexDirectory, 'i');
  if (files.length === 0) findings.problems.push({ path: indexDirectory, offset: 0, what: 'no index files' });
  const data = new DataFiles(disk, dataDirectory);
  try {
    for (const file of files) checkIndexFile(disk, `${indexDirectory}/i${file}`, file, data, named, findings);
  } finally {
    data.close();
  }
  const unnamed: Unnamed[] = [];
  for (const file of numberedFiles(disk, dataDirectory, 'd')) {
    checkDataFile(disk, `${dataDirectory}/d${file}`, findings, {
      file,
      named: named.get(file) ?? noOffsets(),
      unnamed,
    });
    named.delete(file);
  }
  const superseded = supersededIds(disk, indexDirectory, unnamed);
  for (const { file, offset, key } of unnamed) {
    if (superseded.has(hexOf(key))) continue;
    const what = `${printable(key)} is not in the index; opening the store adds it`;
    findings.problems.push({ path: `${dataDirectory}/d${file}`, offset, what });
  }
  return findings;
}

/** Ids of sequential records without index entry whose slot points at something newer: only a step of their history is lost. */
function supersededIds(disk: Disk, indexDirectory: string, unnamed: readonly Unnamed[]): Set<string> {
  const newest = new Map<string, Unnamed>();
  for (const record of unnamed) newest.set(hexOf(record.key), record);
  const found = new Set<string>();
  for (const file of newest.size > 0 ? numberedFiles(disk, indexDirectory, 'i') : []) {
    const index = openIndexFile(disk, `${indexDirectory}/i${file}`);
    try {
      if (index.header.kind !== 'good' || index.header.mode !== 'seq') continue;
      for (const { key, dataFile, dataOffset } of index.entries()) {
        const record = newest.get(hexOf(key));
        if (!record || dataFile < record.file) continue;
        if (dataFile > record.file || dataOffset > record.offset) found.add(hexOf(key));
      }
    } finally {
      index.close();
    }
  }
  return found;
}

function hexOf(key: Uint8Array): string {
  return Buffer.from(key).toString('hex');
}

function noOffsets(): NamedOffsets {
  return { live: new OffsetList(), flagged: new OffsetList() };
}

/** @param known the entries the index knows, and where others are noted; undefined: there is no index to compare with */
function checkDataFile(
  disk: Disk,
  path: string,
  findings: Findings,
  known?: { readonly file: number; readonly named: NamedOffsets; readonly unnamed: Unnamed[] },
): void {
  const file = disk.open(path, 'read');
  try {
    findings.dataFiles++;
    const size = file.size();
    const header = new Uint8Array(DATA_HEADER_BYTES);
    file.read(header, 0);
    if (!isDataHeader(header)) findings.problems.push({ path, offset: 0, what: 'no data file header' });
    const scanner = new DataScanner(() => file, 'user', size);
    while (scanner.next()) {
      findings.dataEntries++;
      findings.dataBytes += scanner.payloadBytes;
      const { offset } = scanner;
      const truncated = (scanner.flags & 2) !== 0;
      const live = known?.named.live.has(offset);
      const flagged = known?.named.flagged.has(offset);
      // The server gives the room of dead records back: of those the index says that they are dead.
      const givenUp = flagged && !live && looksHollow(scanner, file);
      if (!truncated && !givenUp && !scanner.intact()) {
        findings.problems.push({ path, offset, what: `checksum of ${printable(scanner.key())} is wrong` });
      }
      if (known && !scanner.deleted && !live && !flagged)
        known.unnamed.push({ file: known.file, offset, key: scanner.key() });
    }
    if (scanner.nextOffset < size) {
      const what = `${size - scanner.nextOffset} bytes are no whole entry`;
      findings.problems.push({ path, offset: scanner.nextOffset, what });
    }
  } finally {
    file.close();
  }
}

function checkIndexFile(
  disk: Disk,
  path: string,
  number: number,
  data: DataFiles,
  named: Named,
  findings: Findings,
): void {
  const index = openIndexFile(disk, path);
  try {
    if (index.header.kind !== 'good') {
      findings.problems.push({ path, offset: 0, what: `header: ${index.header.kind}` });
      return;
    }
    for (const entry of index.entries()) {
      findings.indexEntries++;
      // User-mode entries belong to the data file of their index file, whatever their field says (D4).
      const dataFile = index.header.mode === 'seq' ? entry.dataFile : number;
      let offsets = named.get(dataFile);
      if (offsets === undefined) {
        offsets = noOffsets();
        named.set(dataFile, offsets);
      }
      (entry.deleted ? offsets.flagged : offsets.live).add(entry.dataOffset);
      if (entry.deleted) continue;
      findings.liveEntries++;
      const scanner = data.scanner(dataFile);
      if (scanner === undefined) {
        if (findings.missingDataFiles.includes(dataFile)) continue;
        findings.missingDataFiles.push(dataFile);
        findings.problems.push({ path, offset: entry.offset, what: `data file d${dataFile} is missing` });
      } else if (!holds(scanner, entry)) {
        const what = `${printable(entry.key)} is not at ${entry.dataOffset} of d${dataFile}`;
        findings.problems.push({ path, offset: entry.offset, what });
      }
    }
    if (index.endOffset < index.sizeBytes) {
      const what = `${index.sizeBytes - index.endOffset} bytes are no whole entry`;
      findings.problems.push({ path, offset: index.endOffset, what });
    }
  } finally {
    index.close();
  }
}

/** Whether the data file has the entry where the index says. */
function holds(scanner: DataScanner, entry: IndexFileEntry): boolean {
  scanner.seek(entry.dataOffset);
  return (
    entry.dataOffset >= DATA_HEADER_BYTES &&
    scanner.next() &&
    scanner.payloadBytes === entry.payloadBytes &&
    scanner.crc === entry.crc &&
    !scanner.deleted &&
    Buffer.compare(scanner.key(), entry.key) === 0
  );
}

/** The data file last asked for, open. */
class DataFiles {
  readonly #disk: Disk;
  readonly #directory: string;
  #number = -1;
  #file: DiskFile | undefined;
  #scanner: DataScanner | undefined;

  constructor(disk: Disk, directory: string) {
    this.#disk = disk;
    this.#directory = directory;
  }

  /** Undefined when there is no such file. */
  scanner(number: number): DataScanner | undefined {
    if (number === this.#number) return this.#scanner;
    this.close();
    this.#number = number;
    const path = `${this.#directory}/d${number}`;
    if (this.#disk.stat(path)?.kind === 'file') {
      const file = this.#disk.open(path, 'read');
      this.#file = file;
      this.#scanner = new DataScanner(() => file, 'user', file.size());
    }
    return this.#scanner;
  }

  close(): void {
    this.#file?.close();
    this.#file = undefined;
    this.#scanner = undefined;
    this.#number = -1;
  }
}

function textOf(reports: readonly Findings[]): string {
  const lines: string[] = [];
  for (const report of reports) {
    lines.push(
      `${report.name}: ${report.dataFiles} data files, ${report.dataEntries} entries, ${report.dataBytes} bytes; ` +
        `${report.indexEntries} index entries, ${report.liveEntries} live; ${report.problems.length} problems`,
    );
    for (const { path, offset, what } of report.problems) lines.push(`  ${path} at ${offset}: ${what}`);
  }
  return `${lines.join('\n')}\n`;
}
