// `zdb dump` and `zdb edit-namespace`: the descriptor of a namespace, printed and written.
import { readWhole, replaceWhole } from '@qsfs/io';
import {
  DEFAULT_DESCRIPTOR,
  DESCRIPTOR_NAME,
  type Descriptor,
  decodeDescriptor,
  encodeDescriptor,
  PASSWORD_MAX_BYTES,
} from '../engine/format/descriptor-format.ts';
import type { Machine } from '../server/machine.ts';
import { lockRoots } from './locks.ts';
import { TOOL_EXIT, type Tool, ToolError, type ToolRequest, wholeNumber, yesOrNo } from './tool.ts';

/** Prints a descriptor. */
export const DUMP: Tool = {
  name: 'dump',
  summary: 'print the settings of a namespace; changes nothing',
  words: 'INDEXDIR NAMESPACE [--json]',
  options: [
    { name: 'json', help: 'as JSON' },
    { name: 'password', help: 'print the password too' },
  ],
  notes: [],
  run: dump,
};

/** Writes a descriptor. */
export const EDIT_NAMESPACE: Tool = {
  name: 'edit-namespace',
  summary: 'change the settings of a namespace while no server runs',
  words: '--index DIR --namespace NAME [settings]',
  options: [
    { name: 'index', argument: 'DIR', help: 'root of the index files' },
    { name: 'namespace', argument: 'NAME', help: 'the namespace' },
    { name: 'password', argument: 'TEXT', help: 'its password; empty for none' },
    { name: 'maxsize', argument: 'BYTES', help: 'its size limit; 0 for none' },
    { name: 'public', argument: 'yes|no', help: 'whether everybody may read it' },
    { name: 'worm', argument: 'yes|no', help: 'whether keys can be written once only' },
    { name: 'reset', help: 'settings that are not given go back to their defaults' },
  ],
  notes: ['What is not given stays as it is, unless --reset is given (the reference’s tool always resets).'],
  run: edit,
};

function dump(request: ToolRequest, machine: Machine): number {
  const [root, name] = request.words;
  if (root === undefined || name === undefined)
    throw new ToolError('which namespace? zdb dump INDEXDIR NAMESPACE');
  const descriptor = load(machine, root, name);
  const password =
    descriptor.password === undefined ? null : Buffer.from(descriptor.password).toString('utf8');
  const shown = request.has('password') ? { password } : { protected: password !== null };
  const report = {
    name,
    ...shown,
    public: descriptor.public,
    worm: descriptor.worm,
    maxsize: descriptor.maxSizeBytes,
  };
  if (request.has('json')) machine.output(`${JSON.stringify(report)}\n`);
  else for (const [key, value] of Object.entries(report)) machine.output(`${key}: ${value}\n`);
  return TOOL_EXIT.ok;
}

function edit(request: ToolRequest, machine: Machine): number {
  const root = request.required('index');
  const name = request.required('namespace');
  const unlock = lockRoots(machine.disk, [root]);
  try {
    const before = request.has('reset') ? DEFAULT_DESCRIPTOR : load(machine, root, name);
    if (machine.disk.stat(`${root}/${name}`)?.kind !== 'directory') throw missing(root, name);
    const password = request.value('password');
    if (password !== undefined && Buffer.byteLength(password) > PASSWORD_MAX_BYTES) {
      throw new ToolError(`the password is longer than ${PASSWORD_MAX_BYTES} bytes`);
    }
    const maxsize = request.value('maxsize');
    const open = request.value('public');
    const worm = request.value('worm');
    const after: Descriptor = {
      password:
        password === undefined ? before.password : password === '' ? undefined : Buffer.from(password),
      maxSizeBytes: maxsize === undefined ? before.maxSizeBytes : wholeNumber('maxsize', maxsize),
      public: open === undefined ? before.public : yesOrNo('public', open),
      worm: worm === undefined ? before.worm : yesOrNo('worm', worm),
    };
    replaceWhole(
      machine.disk,
      `${root}/${name}/${DESCRIPTOR_NAME}`,
      encodeDescriptor(Buffer.from(name), after),
    );
  } finally {
    unlock();
  }
  machine.output(`${name}: settings written\n`);
  return TOOL_EXIT.ok;
}

function load(machine: Machine, root: string, name: string): Descriptor {
  if (name.includes('/') || machine.disk.stat(`${root}/${name}`)?.kind !== 'directory')
    throw missing(root, name);
  const path = `${root}/${name}/${DESCRIPTOR_NAME}`;
  const bytes = readWhole(machine.disk, path);
  if (bytes === undefined) return DEFAULT_DESCRIPTOR;
  try {
    const descriptor = decodeDescriptor(bytes);
    if (descriptor !== undefined) return descriptor;
  } catch (error) {
    throw new ToolError(`${path}: ${(error as Error).message}`);
  }
  throw new ToolError(`${path} is too short to be a descriptor; zdb edit-namespace --reset writes a new one`);
}

function missing(root: string, name: string): ToolError {
  return new ToolError(`there is no namespace ${name} in ${root}`);
}
