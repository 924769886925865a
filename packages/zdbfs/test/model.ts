// A filesystem as simple as can be, and random steps that are run on it and on a volume side by side.
import assert from 'node:assert/strict';
import { errorCode } from '@qsfs/io';
import fc from 'fast-check';
import type { Volume } from '../src/volume.ts';
import { list, ROOT, ROOT_CALLER, read } from './volume-fixture.ts';

/** One step. Numbers choose among what is there, modulo how many there are. */
export type Step =
  | { readonly kind: 'create' | 'mkdir' | 'symlink' | 'temporary'; directory: number; name: string }
  | { readonly kind: 'unlink' | 'rmdir'; directory: number; name: string }
  | {
      readonly kind: 'rename';
      directory: number;
      name: string;
      target: number;
      targetName: string;
      flags: number;
    }
  | { readonly kind: 'link'; file: number; directory: number; name: string }
  | { readonly kind: 'write'; file: number; offset: number; length: number; fill: number }
  | { readonly kind: 'truncate'; file: number; size: number }
  | { readonly kind: 'punch'; file: number; offset: number; length: number; keepSize: boolean }
  | { readonly kind: 'copy'; file: number; offset: number; length: number; target: number; at: number }
  | { readonly kind: 'attribute'; file: number; name: string; length: number }
  | { readonly kind: 'no-attribute'; file: number; name: string }
  | { readonly kind: 'chmod'; file: number; mode: number }
  | { readonly kind: 'forget'; file: number }
  | { readonly kind: 'sync' | 'checkpoint' | 'idle' | 'close' | 'kill' | 'crash' };

const NAMES = ['a', 'b', 'c', 'd', 'x'.repeat(200), 'ö\u00ff', 'e', 'f'];
const index = fc.nat(30);
const name = fc.constantFrom(...NAMES);
const offset = fc.oneof(fc.nat(600), fc.nat(20_000), fc.nat(3_000_000), fc.constant(5_000_000_000));
const length = fc.oneof(
  fc.integer({ min: 1, max: 700 }),
  fc.integer({ min: 1, max: 9000 }),
  fc.constant(1_200_000),
);

/** All steps that change the tree. */
export const changes: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constantFrom('create', 'mkdir', 'symlink'), directory: index, name }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('temporary'), directory: index, name }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('unlink', 'rmdir'), directory: index, name }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('rename'),
      directory: index,
      name,
      target: index,
      targetName: name,
      flags: fc.constantFrom(0, 0, 1, 2),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('link'), file: index, directory: index, name }) },
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant('write'),
      file: index,
      offset,
      length,
      fill: fc.integer({ min: 1, max: 255 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('truncate'), file: index, size: offset }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('punch'), file: index, offset, length, keepSize: fc.boolean() }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('copy'),
      file: index,
      offset,
      length,
      target: index,
      at: offset,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('attribute'),
      file: index,
      name: fc.constantFrom('user.a', 'user.b', 'security.capability'),
      length: fc.constantFrom(0, 10, 900, 5000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('no-attribute'),
      file: index,
      name: fc.constantFrom('user.a', 'user.b'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('chmod'), file: index, mode: fc.nat(0o7777) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('forget'), file: index }) },
) as fc.Arbitrary<Step>;

interface Node {
  inode: number;
  readonly type: 'file' | 'directory' | 'symlink';
  links: number;
  /** Sparse contents: pieces of 64 KiB. */
  readonly pieces: Map<number, Buffer>;
  size: number;
  mode: number;
  readonly children: Map<string, Node>;
  readonly attributes: Map<string, number>;
  held: number;
}

const PIECE = 65_536;

class Refused extends Error {
  readonly code: string;
  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

export class Model {
  readonly root: Node;
  /** Everything that exists, named or held. */
  nodes: Node[];

  constructor() {
    this.root = this.#node('directory', ROOT);
    this.nodes = [this.root];
  }

  #node(type: Node['type'], inode: number): Node {
    return {
      inode,
      type,
      links: 1,
      pieces: new Map(),
      size: 0,
      mode: type === 'directory' ? 0o755 : type === 'symlink' ? 0o777 : 0o644,
      children: new Map(),
      attributes: new Map(),
      held: 1,
    };
  }

  directory(at: number): Node {
    const all = this.nodes.filter((node) => node.type === 'directory');
    return all[at % all.length]!;
  }

  any(at: number): Node {
    return this.nodes[at % this.nodes.length]!;
  }

  file(at: number): Node | undefined {
    const all = this.nodes.filter((node) => node.type === 'file');
    return all[at % all.length];
  }

  /** What is neither named nor held is gone. */
  collect(): void {
    this.nodes = this.nodes.filter((node) => node.links > 0 || node.held > 0);
  }

  dropHolds(): void {
    for (const node of this.nodes) node.held = 0;
    this.collect();
  }

  make(directory: Node, name: string, type: Node['type']): Node {
    if (directory.links === 0) throw new Refused('ENOENT');
    if (directory.children.has(name)) throw new Refused('EEXIST');
    const node = this.#node(type, 0);
    directory.children.set(name, node);
    this.nodes.push(node);
    return node;
  }

  makeTemporary(directory: Node): Node {
    if (directory.links === 0) throw new Refused('ENOENT');
    const node = this.#node('file', 0);
    node.links = 0;
    this.nodes.push(node);
    return node;
  }

  remove(directory: Node, name: string, wantDirectory: boolean): void {
    const node = directory.children.get(name);
    if (!node) throw new Refused('ENOENT');
    if (wantDirectory && node.type !== 'directory') throw new Refused('ENOTDIR');
    if (!wantDirectory && node.type === 'directory') throw new Refused('EISDIR');
    if (node.children.size > 0) throw new Refused('ENOTEMPTY');
    directory.children.delete(name);
    node.links--;
    this.collect();
  }

  #within(node: Node, ancestor: Node): boolean {
    if (node === ancestor) return true;
    for (const child of ancestor.children.values())
      if (child.type === 'directory' && this.#within(node, child)) return true;
    return false;
  }

  rename(from: Node, name: string, to: Node, targetName: string, flags: number): void {
    if (to.links === 0) throw new Refused('ENOENT');
    const node = from.children.get(name);
    if (!node) throw new Refused('ENOENT');
    const target = to.children.get(targetName);
    if (flags === 2 && !target) throw new Refused('ENOENT');
    if (target && flags === 1) throw new Refused('EEXIST');
    if (node.type === 'directory' && this.#within(to, node)) throw new Refused('EINVAL');
    if (flags === 2 && target?.type === 'directory' && this.#within(from, target))
      throw new Refused('EINVAL');
    if (target === node) return;
    if (flags === 2 && target) {
      from.children.set(name, target);
      to.children.set(targetName, node);
      return;
    }
    if (target) {
      if (node.type === 'directory' && target.type !== 'directory') throw new Refused('ENOTDIR');
      if (node.type !== 'directory' && target.type === 'directory') throw new Refused('EISDIR');
      if (target.children.size > 0) throw new Refused('ENOTEMPTY');
      target.links--;
    }
    from.children.delete(name);
    to.children.set(targetName, node);
    this.collect();
  }

  link(node: Node, directory: Node, name: string): void {
    if (node.type === 'directory') throw new Refused('EPERM');
    if (directory.links === 0) throw new Refused('ENOENT');
    if (directory.children.has(name)) throw new Refused('EEXIST');
    directory.children.set(name, node);
    node.links++;
    node.held++;
  }

  write(node: Node, offset: number, bytes: Uint8Array): void {
    let done = 0;
    while (done < bytes.length) {
      const at = offset + done;
      const piece = Math.floor(at / PIECE);
      let buffer = node.pieces.get(piece);
      if (!buffer) {
        buffer = Buffer.alloc(PIECE);
        node.pieces.set(piece, buffer);
      }
      const start = at - piece * PIECE;
      const count = Math.min(PIECE - start, bytes.length - done);
      buffer.set(bytes.subarray(done, done + count), start);
      done += count;
    }
    node.size = Math.max(node.size, offset + bytes.length);
    node.attributes.delete('security.capability');
  }

  zero(node: Node, from: number, to: number): void {
    for (const [piece, buffer] of node.pieces) {
      const start = Math.max(0, from - piece * PIECE);
      const end = Math.min(PIECE, to - piece * PIECE);
      if (start < end) buffer.fill(0, start, end);
    }
    node.attributes.delete('security.capability');
  }

  read(node: Node, offset: number, length: number): Buffer {
    const target = Buffer.alloc(Math.max(0, Math.min(length, node.size - offset)));
    for (const [piece, buffer] of node.pieces) {
      const from = Math.max(offset, piece * PIECE);
      const to = Math.min(offset + target.length, (piece + 1) * PIECE);
      if (from < to) buffer.copy(target, from - offset, from - piece * PIECE, to - piece * PIECE);
    }
    return target;
  }
}

function outcome(action: () => void): string {
  try {
    action();
    return 'done';
  } catch (error) {
    const code = error instanceof Refused ? error.code : errorCode(error);
    if (code === undefined) throw error;
    return code;
  }
}

/** Runs a changing step on both and compares how it ended. */
export function runStep(volume: Volume, model: Model, step: Step): void {
  const both = (onModel: () => void, onVolume: () => void) => {
    const expected = outcome(onModel);
    const got = outcome(onVolume);
    assert.equal(got, expected, `${JSON.stringify(step)}: ${got}, the model says ${expected}`);
  };
  switch (step.kind) {
    case 'create':
    case 'mkdir':
    case 'symlink': {
      const directory = model.directory(step.directory);
      let node: Node | undefined;
      const type = step.kind === 'mkdir' ? 'directory' : step.kind === 'create' ? 'file' : 'symlink';
      both(
        () => {
          node = model.make(directory, step.name, type);
        },
        () => {
          const made =
            step.kind === 'mkdir'
              ? volume.makeDirectory(directory.inode, step.name, 0o755, ROOT_CALLER)
              : step.kind === 'create'
                ? volume.makeNode(directory.inode, step.name, 0o100644, 0, ROOT_CALLER)
                : volume.makeSymlink(
                    directory.inode,
                    step.name,
                    Buffer.from(step.name, 'latin1'),
                    ROOT_CALLER,
                  );
          if (node) node.inode = made.inode;
        },
      );
      return;
    }
    case 'temporary': {
      const directory = model.directory(step.directory);
      let node: Node | undefined;
      both(
        () => {
          node = model.makeTemporary(directory);
        },
        () => {
          const made = volume.makeTemporary(directory.inode, 0o644, ROOT_CALLER);
          if (node) node.inode = made.inode;
        },
      );
      return;
    }
    case 'unlink':
    case 'rmdir': {
      const directory = model.directory(step.directory);
      const wantDirectory = step.kind === 'rmdir';
      both(
        () => model.remove(directory, step.name, wantDirectory),
        () =>
          wantDirectory
            ? volume.removeDirectory(directory.inode, step.name)
            : volume.unlink(directory.inode, step.name),
      );
      return;
    }
    case 'rename': {
      const from = model.directory(step.directory);
      const to = model.directory(step.target);
      both(
        () => model.rename(from, step.name, to, step.targetName, step.flags),
        () => volume.rename(from.inode, step.name, to.inode, step.targetName, step.flags),
      );
      return;
    }
    case 'link': {
      const node = model.any(step.file);
      const directory = model.directory(step.directory);
      both(
        () => model.link(node, directory, step.name),
        () => void volume.link(node.inode, directory.inode, step.name),
      );
      return;
    }
    case 'write': {
      const node = model.file(step.file);
      if (!node) return;
      const bytes = Buffer.alloc(step.length, step.fill);
      model.write(node, step.offset, bytes);
      volume.write(node.inode, step.offset, bytes, ROOT_CALLER, false);
      return;
    }
    case 'truncate': {
      const node = model.file(step.file);
      if (!node) return;
      model.zero(node, step.size, Number.MAX_SAFE_INTEGER);
      node.size = step.size;
      volume.setAttributes(node.inode, { sizeBytes: step.size });
      return;
    }
    case 'punch': {
      const node = model.file(step.file);
      if (!node) return;
      const end = step.offset + step.length;
      model.zero(node, step.offset, end);
      if (!step.keepSize) node.size = Math.max(node.size, end);
      volume.allocate(node.inode, step.keepSize ? 3 : 0x10, step.offset, step.length);
      return;
    }
    case 'copy': {
      const node = model.file(step.file);
      const target = model.file(step.target);
      if (!node || !target || node === target) return;
      const bytes = model.read(node, step.offset, step.length);
      if (bytes.length > 0) model.write(target, step.at, bytes);
      const copied = volume.copyRange(node.inode, step.offset, target.inode, step.at, step.length);
      assert.equal(copied, bytes.length);
      return;
    }
    case 'attribute': {
      const node = model.any(step.file);
      node.attributes.set(step.name, step.length);
      volume.setExtendedAttribute(node.inode, step.name, Buffer.alloc(step.length, 'v'), 0);
      return;
    }
    case 'no-attribute': {
      const node = model.any(step.file);
      both(
        () => {
          if (!node.attributes.delete(step.name)) throw new Refused('ENODATA');
        },
        () => volume.removeExtendedAttribute(node.inode, step.name),
      );
      return;
    }
    case 'chmod': {
      const node = model.any(step.file);
      if (node.type === 'directory') return;
      node.mode = step.mode;
      volume.setAttributes(node.inode, { mode: step.mode });
      return;
    }
    case 'forget': {
      const node = model.any(step.file);
      if (node === model.root || node.held === 0) return;
      const { held } = node;
      node.held = 0;
      model.collect();
      volume.forget(node.inode, held);
      return;
    }
    default:
      throw new Error(`${step.kind} is not for runStep`);
  }
}

/** Compares everything that exists. */
export function assertEqual(volume: Volume, model: Model): void {
  for (const node of model.nodes) {
    const attributes = volume.getAttributes(node.inode);
    const subdirectories = [...node.children.values()].filter((child) => child.type === 'directory').length;
    const links = node.type !== 'directory' ? node.links : node.links === 0 ? 0 : 2 + subdirectories;
    assert.equal(attributes.linkCount, links, `links of inode ${node.inode}`);
    assert.equal(attributes.mode & 0o7777, node.mode);
    assert.deepEqual(
      new Map(
        volume
          .listExtendedAttributes(node.inode)
          .map((key) => [key, volume.getExtendedAttribute(node.inode, key)?.length ?? -1]),
      ),
      node.attributes,
    );
    if (node.type === 'directory') {
      const expected = new Map([...node.children].map(([key, child]) => [key, child.inode]));
      assert.deepEqual(list(volume, node.inode, 3), expected);
    } else if (node.type === 'file') {
      assert.equal(attributes.sizeBytes, node.size);
      assertContents(volume, model, node);
    }
  }
}

function assertContents(volume: Volume, model: Model, node: Node): void {
  const places = new Set([0, node.size - 1000, ...[...node.pieces.keys()].map((piece) => piece * PIECE)]);
  for (const place of places) {
    const from = Math.max(0, place - 10);
    const got = read(volume, node.inode, from, PIECE + 20);
    assert.ok(got.equals(model.read(node, from, PIECE + 20)), `contents of inode ${node.inode} at ${from}`);
  }
}
