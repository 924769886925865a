// A filesystem that writes down what it is asked and gives fixed answers. Bytes are written down as text, callers without
// their process.
import type {
  AttributeChange,
  Attributes,
  Caller,
  DirectoryEmitter,
  Filesystem,
  FilesystemStatus,
} from '../src/index.ts';

const TIME = { seconds: 1, nanoseconds: 2 };

/** Attributes of any inode asked for. */
export function someAttributes(inode: number): Attributes {
  return {
    inode,
    generation: 1,
    mode: 0o100644,
    linkCount: 1,
    userId: 1000,
    groupId: 1001,
    deviceNumber: 0,
    sizeBytes: 10,
    blocks: 8,
    accessed: TIME,
    modified: TIME,
    changed: TIME,
  };
}

/** See above. `thrown`, when set, is thrown by every call but `forget`. */
export class RecordingFilesystem implements Filesystem {
  readonly calls: unknown[][] = [];
  thrown: unknown;
  /** What `lookup` finds. */
  found: Attributes | undefined = someAttributes(2);
  /** Names that `listDirectory` emits, with cookies from 1 on. */
  names: readonly string[] = [];
  /** Inodes of made and listed things. */
  nextInode = 100;

  #call(...call: unknown[]): void {
    this.calls.push(call);
    if (this.thrown !== undefined) throw this.thrown;
  }

  #made(): Attributes {
    return someAttributes(this.nextInode++);
  }

  lookup(parent: number, name: string): Attributes | undefined {
    this.#call('lookup', parent, name);
    return this.found;
  }

  forget(inode: number, count: number): void {
    this.calls.push(['forget', inode, count]);
  }

  getAttributes(inode: number): Attributes {
    this.#call('getAttributes', inode);
    return someAttributes(inode);
  }

  setAttributes(inode: number, change: AttributeChange, caller: Caller): Attributes {
    this.#call('setAttributes', inode, change, who(caller));
    return someAttributes(inode);
  }

  readLink(inode: number): Uint8Array {
    this.#call('readLink', inode);
    return Buffer.from('target');
  }

  makeSymlink(parent: number, name: string, target: Uint8Array, caller: Caller): Attributes {
    this.#call('makeSymlink', parent, name, text(target), who(caller));
    return this.#made();
  }

  makeNode(parent: number, name: string, mode: number, deviceNumber: number, caller: Caller): Attributes {
    this.#call('makeNode', parent, name, mode, deviceNumber, who(caller));
    return this.#made();
  }

  makeDirectory(parent: number, name: string, mode: number, caller: Caller): Attributes {
    this.#call('makeDirectory', parent, name, mode, who(caller));
    return this.#made();
  }

  makeTemporary(parent: number, mode: number, caller: Caller): Attributes {
    this.#call('makeTemporary', parent, mode, who(caller));
    return this.#made();
  }

  unlink(parent: number, name: string, caller: Caller): void {
    this.#call('unlink', parent, name, who(caller));
  }

  removeDirectory(parent: number, name: string, caller: Caller): void {
    this.#call('removeDirectory', parent, name, who(caller));
  }

  rename(
    sourceParent: number,
    sourceName: string,
    targetParent: number,
    targetName: string,
    flags: number,
    caller: Caller,
  ): void {
    this.#call('rename', sourceParent, sourceName, targetParent, targetName, flags, who(caller));
  }

  link(inode: number, parent: number, name: string, caller: Caller): Attributes {
    this.#call('link', inode, parent, name, who(caller));
    return someAttributes(inode);
  }

  read(inode: number, offset: number, target: Uint8Array): number {
    this.#call('read', inode, offset, target.length);
    target.fill(0x61);
    return Math.min(target.length, 10);
  }

  write(inode: number, offset: number, source: Uint8Array, caller: Caller, clearSetId: boolean): void {
    this.#call('write', inode, offset, text(source), who(caller), clearSetId);
  }

  sync(inode: number, dataOnly: boolean): void {
    this.#call('sync', inode, dataOnly);
  }

  syncAll(): void {
    this.#call('syncAll');
  }

  listDirectory(inode: number, cookie: number, emit: DirectoryEmitter, withAttributes: boolean): void {
    this.#call('listDirectory', inode, cookie, withAttributes);
    for (const [index, name] of this.names.entries()) {
      if (index < cookie) continue;
      const attributes = someAttributes(this.nextInode + index);
      const special = name === '.' || name === '..';
      const given = withAttributes && !special ? attributes : undefined;
      if (!emit(name, attributes.inode, attributes.mode, index + 1, given)) return;
    }
  }

  status(): FilesystemStatus {
    this.#call('status');
    return {
      blockSizeBytes: 4096,
      blocks: 2 ** 40,
      blocksFree: 3,
      blocksAvailable: 2,
      inodes: 5,
      inodesFree: 4,
      nameMax: 255,
    };
  }

  getExtendedAttribute(inode: number, name: string): Uint8Array | undefined {
    this.#call('getExtendedAttribute', inode, name);
    return Buffer.from('value');
  }

  setExtendedAttribute(inode: number, name: string, value: Uint8Array, flags: number, caller: Caller): void {
    this.#call('setExtendedAttribute', inode, name, text(value), flags, who(caller));
  }

  listExtendedAttributes(inode: number): readonly string[] {
    this.#call('listExtendedAttributes', inode);
    return ['user.a', 'user.bc'];
  }

  removeExtendedAttribute(inode: number, name: string, caller: Caller): void {
    this.#call('removeExtendedAttribute', inode, name, who(caller));
  }

  allocate(inode: number, mode: number, offset: number, lengthBytes: number): void {
    this.#call('allocate', inode, mode, offset, lengthBytes);
  }

  seek(inode: number, offset: number, whence: number): number {
    this.#call('seek', inode, offset, whence);
    return 2 ** 40 + 5;
  }

  copyRange(
    source: number,
    sourceOffset: number,
    target: number,
    targetOffset: number,
    lengthBytes: number,
  ): number {
    this.#call('copyRange', source, sourceOffset, target, targetOffset, lengthBytes);
    return lengthBytes;
  }

  idle(): void {
    this.#call('idle');
  }
}

function who(caller: Caller): { userId: number; groupId: number } {
  return { userId: caller.userId, groupId: caller.groupId };
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}
