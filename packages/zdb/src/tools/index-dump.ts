// `zdb index-dump`: prints every entry of a namespace's index files. Changes nothing.
import type { Machine } from '../server/machine.ts';
import { type IndexFileEntry, numberedFiles, openIndexFile } from './index-file.ts';
import { printable, TOOL_EXIT, type Tool, ToolError, type ToolRequest } from './tool.ts';

/** The tool. */
export const INDEX_DUMP: Tool = {
  name: 'index-dump',
  summary: 'print every entry of a namespace’s index files; changes nothing',
  words: 'INDEXDIR/NAMESPACE [--json]',
  options: [{ name: 'json', help: 'one JSON object a line' }],
  notes: ['Exit code: 0, or 3 when a file is damaged.'],
  run: dump,
};

function dump(request: ToolRequest, machine: Machine): number {
  const [directory] = request.words;
  if (directory === undefined) throw new ToolError('which directory? zdb index-dump INDEXDIR/NAMESPACE');
  const files = numberedFiles(machine.disk, directory, 'i');
  if (files.length === 0) throw new ToolError(`there are no index files in ${directory}`);
  const json = request.has('json');
  let damaged = false;
  let number = 0;
  let live = 0;
  for (const file of files) {
    const index = openIndexFile(machine.disk, `${directory}/i${file}`);
    try {
      const { header } = index;
      const mode = header.kind === 'good' ? (header.mode ?? 'unknown mode') : `header ${header.kind}`;
      if (!json) machine.output(`${index.path}: ${index.sizeBytes} bytes, ${mode}\n`);
      for (const entry of index.entries()) {
        if (!entry.deleted) live++;
        machine.output(json ? jsonOf(file, number, entry) : textOf(number, entry));
        number++;
      }
      if (header.kind !== 'good' || index.endOffset < index.sizeBytes) {
        damaged = true;
        if (!json) machine.output(`  damaged from ${header.kind === 'good' ? index.endOffset : 0} on\n`);
      }
    } finally {
      index.close();
    }
  }
  if (!json) machine.output(`${number} entries, ${live} live, ${files.length} files\n`);
  return damaged ? TOOL_EXIT.damaged : TOOL_EXIT.ok;
}

function textOf(number: number, entry: IndexFileEntry): string {
  // 2026-11-27T01:52:09.000Z
  const time = new Date(entry.timestamp * 1000).toISOString().slice(0, 19).replace('T', ' ');
  return (
    `  ${number}: at ${entry.offset}, ${entry.deleted ? 'deleted' : 'live'}, key ${printable(entry.key)}, ` +
    `${entry.payloadBytes} bytes at ${entry.dataOffset} of d${entry.dataFile}, crc ${entry.crc.toString(16).padStart(8, '0')}, ` +
    `${time} UTC, previous ${entry.previous}, parent ${entry.parentFile}:${entry.parentOffset}\n`
  );
}

function jsonOf(file: number, number: number, entry: IndexFileEntry): string {
  return `${JSON.stringify({ file, number, ...entry, key: Buffer.from(entry.key).toString('hex') })}\n`;
}
