// `zdb check`: walks data and index files of either origin and says what is damaged. Changes nothing.
import type { Disk } from '@qsfs/io';
import { DATA_HEADER_BYTES, isDataHeader } from '../engine/data-format.ts';
import { DataScanner } from '../engine/data-scanner.ts';
import type { Machine } from '../server/program.ts';
import { numberedFiles, openIndexFile } from './index-file.ts';
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
    checkDataFile(disk, file, undefined, findings);
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

/** The key and checksum of each data entry, by file and offset. */
type Entries = Map<number, Map<number, string>>;

function checkNamespace(disk: Disk, name: string, dataDirectory: string, indexDirectory: string): Findings {
  const findings = emptyFindings(name);
  const entries: Entries = new Map();
  for (const file of numberedFiles(disk, dataDirectory, 'd')) {
    const known = new Map<number, string>();
    entries.set(file, known);
    checkDataFile(disk, `${dataDirectory}/d${file}`, known, findings);
  }
  const files = numberedFiles(disk, indexDirectory, 'i');
  if (files.length === 0) findings.problems.push({ path: indexDirectory, offset: 0, what: 'no index files' });
  for (const file of files) checkIndexFile(disk, `${indexDirectory}/i${file}`, file, entries, findings);
  return findings;
}

function checkDataFile(
  disk: Disk,
  path: string,
  known: Map<number, string> | undefined,
  findings: Findings,
): void {
  const file = disk.open(path, 'read');
  try {
    findings.dataFiles++;
    const size = file.size();
    const header = new Uint8Array(DATA_HEADER_BYTES);
    file.read(header, 0);
    if (!isDataHeader(header)) findings.problems.push({ path, offset: 0, what: 'no data file header' });
    const scanner = new DataScanner(file, 'user', size);
    while (scanner.next()) {
      findings.dataEntries++;
      findings.dataBytes += scanner.payloadBytes;
      known?.set(scanner.offset, identity(scanner.key(), scanner.payloadBytes, scanner.crc));
      const truncated = (scanner.flags & 2) !== 0;
      if (!truncated && !scanner.intact()) {
        findings.problems.push({
          path,
          offset: scanner.offset,
          what: `checksum of ${printable(scanner.key())} is wrong`,
        });
      }
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
  entries: Entries,
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
      if (entry.deleted) continue;
      findings.liveEntries++;
      // User-mode entries belong to the data file of their index file, whatever their field says (D4).
      const dataFile = index.header.mode === 'seq' ? entry.dataFile : number;
      const known = entries.get(dataFile);
      if (known === undefined) {
        if (!findings.missingDataFiles.includes(dataFile)) {
          findings.missingDataFiles.push(dataFile);
          findings.problems.push({ path, offset: entry.offset, what: `data file d${dataFile} is missing` });
        }
      } else if (known.get(entry.dataOffset) !== identity(entry.key, entry.payloadBytes, entry.crc)) {
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

function identity(key: Uint8Array, payloadBytes: number, crc: number): string {
  return `${Buffer.from(key).toString('latin1')} ${payloadBytes} ${crc}`;
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
