// Carries out operations (operation.ts) on the state. Used twice with the same code: right after an operation went into
// the journal, and when recovery repeats the journal. Therefore it is deterministic: it looks at nothing but the state,
// the operation and its time, and it does not fail, because everything was checked and loaded before.
import { addName, findName, removeName, replaceName } from './directory.ts';
import { mapRange } from './extent-map.ts';
import type {
  AttributesOperation,
  CreateOperation,
  DestroyOperation,
  ExtendedAttributeOperation,
  LinkOperation,
  Operation,
  PunchOperation,
  RemoveOperation,
  RenameOperation,
  WriteInlineOperation,
  WriteOperation,
} from './operation.ts';
import {
  AttributeRecord,
  type DirectoryEntry,
  type Extent,
  Inode,
  isDirectory,
  type Moment,
  Page,
  TYPE_DIRECTORY,
  TYPE_MASK,
  TYPE_REGULAR,
} from './record.ts';
import { attributeBytes } from './record-codec.ts';
import type { VolumeState } from './volume-state.ts';

/** Extended attributes of an inode stay in its record up to this; beyond, they get one of their own. */
export const ATTRIBUTES_INLINE_MAX_BYTES = 1024;
/** Name of the attribute with a program's capabilities: it goes when owner or contents change (capabilities(7)). */
export const CAPABILITY = 'security.capability';

const EMPTY = new Uint8Array(0);

/** Carries out one operation. */
export function apply(state: VolumeState, time: Moment, operation: Operation): void {
  switch (operation.kind) {
    case 'reserve':
      for (const run of operation.runs) {
        for (let at = run.count - 1; at >= 0; at--) state.freeIds.push(run.first + at);
        state.metaEnd = Math.max(state.metaEnd, run.first + run.count);
      }
      break;
    case 'create':
      create(state, time, operation);
      break;
    case 'remove':
      remove(state, time, operation);
      break;
    case 'rename':
      if (operation.exchange) exchange(state, time, operation);
      else rename(state, time, operation);
      break;
    case 'link':
      link(state, time, operation);
      break;
    case 'attributes':
      setAttributes(state, time, operation);
      break;
    case 'write':
      write(state, time, operation);
      break;
    case 'write-inline':
      writeInline(state, time, operation);
      break;
    case 'punch':
      punch(state, time, operation);
      break;
    case 'extended-attribute':
      setExtendedAttribute(state, time, operation);
      break;
    case 'destroy':
      destroy(state, operation);
      break;
  }
}

/** Extended attributes of an inode, wherever they are. */
export function attributesOf(state: VolumeState, inode: Inode): ReadonlyMap<string, Uint8Array> | undefined {
  return inode.attributeRecord === 0 ? inode.attributes : state.attributes(inode).values;
}

function touchDirectory(state: VolumeState, directory: Inode, time: Moment): void {
  directory.modified = time;
  directory.changed = time;
  state.cache.changed(directory);
}

function create(state: VolumeState, time: Moment, operation: CreateOperation): void {
  const inode = new Inode(operation.inode);
  const taken = state.takeId();
  if (taken !== inode.id)
    throw new Error(`the new inode should be ${inode.id}, but the next free id is ${taken}`);
  const type = operation.mode & TYPE_MASK;
  inode.mode = operation.mode;
  inode.userId = operation.userId;
  inode.groupId = operation.groupId;
  inode.deviceNumber = operation.deviceNumber;
  inode.generation = state.generation;
  state.generation = (state.generation + 1) >>> 0;
  inode.accessed = time;
  inode.modified = time;
  inode.changed = time;
  inode.linkCount = type === TYPE_DIRECTORY ? 2 : 1;
  if (type === TYPE_DIRECTORY) {
    inode.directory = new Page();
    inode.parent = operation.parent;
  } else if (type === TYPE_REGULAR) {
    inode.bytes = EMPTY;
  } else if (operation.target) {
    inode.bytes = operation.target;
    inode.sizeBytes = operation.target.length;
    inode.allocatedBytes = operation.target.length;
    state.usedBytes += operation.target.length;
  }
  state.inodes++;
  if (operation.name === '') {
    inode.linkCount = 0;
    state.orphans.add(inode.id);
  } else {
    const parent = state.inode(operation.parent);
    addName(state, parent, { name: operation.name, inode: inode.id, type: type >>> 12 });
    if (type === TYPE_DIRECTORY) parent.linkCount++;
    touchDirectory(state, parent, time);
  }
  state.addNew(inode);
}

/** One name less of an inode. A directory that loses its name loses its own `.` too. */
function dropLink(state: VolumeState, inode: Inode, time: Moment): void {
  inode.linkCount = isDirectory(inode) ? 0 : inode.linkCount - 1;
  inode.changed = time;
  if (inode.linkCount === 0) state.orphans.add(inode.id);
  state.cache.changed(inode);
}

function remove(state: VolumeState, time: Moment, operation: RemoveOperation): void {
  const parent = state.inode(operation.parent);
  const inode = state.inode(entryOf(state, parent, operation.name).inode);
  removeName(state, parent, operation.name);
  if (isDirectory(inode)) parent.linkCount--;
  touchDirectory(state, parent, time);
  dropLink(state, inode, time);
}

function entryOf(state: VolumeState, directory: Inode, name: string): DirectoryEntry {
  const entry = findName(state, directory, name);
  if (!entry) throw new Error(`directory ${directory.id} has no such name any more`);
  return entry;
}

function rename(state: VolumeState, time: Moment, operation: RenameOperation): void {
  const sourceParent = state.inode(operation.sourceParent);
  const targetParent = state.inode(operation.targetParent);
  const source = entryOf(state, sourceParent, operation.sourceName);
  const target = findName(state, targetParent, operation.targetName);
  const inode = state.inode(source.inode);
  const entry = { name: operation.targetName, inode: source.inode, type: source.type };
  if (target) {
    const replaced = state.inode(target.inode);
    if (isDirectory(replaced)) targetParent.linkCount--;
    replaceName(state, targetParent, entry);
    dropLink(state, replaced, time);
  } else {
    addName(state, targetParent, entry);
  }
  // Added before removed: what the addition needs was loaded for the pages as they were.
  removeName(state, sourceParent, operation.sourceName);
  if (isDirectory(inode)) {
    sourceParent.linkCount--;
    targetParent.linkCount++;
    inode.parent = targetParent.id;
  }
  inode.changed = time;
  state.cache.changed(inode);
  touchDirectory(state, sourceParent, time);
  touchDirectory(state, targetParent, time);
}

function exchange(state: VolumeState, time: Moment, operation: RenameOperation): void {
  const sourceParent = state.inode(operation.sourceParent);
  const targetParent = state.inode(operation.targetParent);
  const source = entryOf(state, sourceParent, operation.sourceName);
  const target = entryOf(state, targetParent, operation.targetName);
  replaceName(state, sourceParent, { name: source.name, inode: target.inode, type: target.type });
  replaceName(state, targetParent, { name: target.name, inode: source.inode, type: source.type });
  for (const [entry, from, to] of [
    [source, sourceParent, targetParent],
    [target, targetParent, sourceParent],
  ] as const) {
    const inode = state.inode(entry.inode);
    if (isDirectory(inode)) {
      from.linkCount--;
      to.linkCount++;
      inode.parent = to.id;
    }
    inode.changed = time;
    state.cache.changed(inode);
  }
  touchDirectory(state, sourceParent, time);
  touchDirectory(state, targetParent, time);
}

function link(state: VolumeState, time: Moment, operation: LinkOperation): void {
  const inode = state.inode(operation.inode);
  const parent = state.inode(operation.parent);
  addName(state, parent, {
    name: operation.name,
    inode: inode.id,
    type: (inode.mode & TYPE_MASK) >>> 12,
  });
  state.orphans.delete(inode.id);
  inode.linkCount++;
  inode.changed = time;
  state.cache.changed(inode);
  touchDirectory(state, parent, time);
}

function setAttributes(state: VolumeState, time: Moment, operation: AttributesOperation): void {
  const inode = state.inode(operation.inode);
  if (operation.dropCapability) dropCapability(state, inode);
  if (operation.mode !== undefined) inode.mode = (inode.mode & TYPE_MASK) | (operation.mode & 0o7777);
  if (operation.userId !== undefined) inode.userId = operation.userId;
  if (operation.groupId !== undefined) inode.groupId = operation.groupId;
  if (operation.sizeBytes !== undefined) {
    resize(state, inode, operation.sizeBytes);
    inode.modified = time;
  }
  if (operation.accessed) inode.accessed = operation.accessed;
  if (operation.modified) inode.modified = operation.modified;
  inode.changed = operation.changed ?? time;
  state.cache.changed(inode);
}

function resize(state: VolumeState, inode: Inode, sizeBytes: number): void {
  if (sizeBytes < inode.sizeBytes) {
    if (inode.bytes && inode.bytes.length > sizeBytes)
      setBytes(state, inode, inode.bytes.slice(0, sizeBytes));
    if (inode.extents) {
      mapRange(state, inode, sizeBytes, Number.MAX_SAFE_INTEGER, []);
      if (sizeBytes === 0) {
        inode.extents = undefined;
        inode.bytes = EMPTY;
      }
    }
  }
  inode.sizeBytes = sizeBytes;
}

/** Exchanges the inline contents and counts them. */
function setBytes(state: VolumeState, inode: Inode, bytes: Uint8Array): void {
  const change = bytes.length - (inode.bytes?.length ?? 0);
  inode.bytes = bytes;
  inode.allocatedBytes += change;
  state.usedBytes += change;
}

function write(state: VolumeState, time: Moment, operation: WriteOperation): void {
  const inode = state.inode(operation.inode);
  if (!inode.extents) {
    setBytes(state, inode, EMPTY);
    inode.bytes = undefined;
    inode.extents = new Page();
  }
  for (const { offset, lengthBytes, record } of operation.extents) {
    const extent: Extent = { offset, lengthBytes, record, recordOffset: 0, recordLength: lengthBytes };
    mapRange(state, inode, offset, offset + lengthBytes, [extent]);
  }
  if (operation.sizeBytes > inode.sizeBytes) inode.sizeBytes = operation.sizeBytes;
  if (operation.touch) contentsChanged(state, inode, time, operation.mode);
  state.cache.changed(inode);
}

function contentsChanged(state: VolumeState, inode: Inode, time: Moment, mode: number | undefined): void {
  inode.modified = time;
  inode.changed = time;
  if (mode !== undefined) inode.mode = mode;
  dropCapability(state, inode);
}

function writeInline(state: VolumeState, time: Moment, operation: WriteInlineOperation): void {
  const inode = state.inode(operation.inode);
  const end = operation.offset + operation.bytes.length;
  const old = inode.bytes ?? EMPTY;
  const bytes = new Uint8Array(Math.max(old.length, end));
  bytes.set(old);
  bytes.set(operation.bytes, operation.offset);
  setBytes(state, inode, bytes);
  if (end > inode.sizeBytes) inode.sizeBytes = end;
  contentsChanged(state, inode, time, operation.mode);
  state.cache.changed(inode);
}

function punch(state: VolumeState, time: Moment, operation: PunchOperation): void {
  const inode = state.inode(operation.inode);
  const end = operation.offset + operation.lengthBytes;
  if (inode.bytes && operation.offset < inode.bytes.length) {
    const bytes = inode.bytes.slice(0, end >= inode.bytes.length ? operation.offset : inode.bytes.length);
    bytes.fill(0, operation.offset, Math.min(end, bytes.length));
    setBytes(state, inode, bytes);
  }
  if (inode.extents) mapRange(state, inode, operation.offset, end, []);
  inode.sizeBytes = operation.sizeBytes;
  contentsChanged(state, inode, time, undefined);
  state.cache.changed(inode);
}

function setExtendedAttribute(state: VolumeState, time: Moment, operation: ExtendedAttributeOperation): void {
  const inode = state.inode(operation.inode);
  const values = new Map(attributesOf(state, inode));
  if (operation.value) values.set(operation.name, operation.value);
  else values.delete(operation.name);
  storeAttributes(state, inode, values);
  inode.changed = time;
  state.cache.changed(inode);
}

function storeAttributes(state: VolumeState, inode: Inode, values: Map<string, Uint8Array>): void {
  let size = 0;
  for (const [name, value] of values) size += attributeBytes(name, value);
  if (inode.attributeRecord !== 0) {
    state.freeId(inode.attributeRecord);
    inode.attributeRecord = 0;
  }
  inode.attributes = undefined;
  if (size > ATTRIBUTES_INLINE_MAX_BYTES) {
    inode.attributeRecord = state.takeId();
    state.addNew(new AttributeRecord(inode.attributeRecord, inode.id, values));
  } else if (values.size > 0) {
    inode.attributes = values;
  }
}

function dropCapability(state: VolumeState, inode: Inode): void {
  if (inode.attributes === undefined && inode.attributeRecord === 0) return;
  const present = attributesOf(state, inode);
  if (!present?.has(CAPABILITY)) return;
  const values = new Map(present);
  values.delete(CAPABILITY);
  storeAttributes(state, inode, values);
}

function destroy(state: VolumeState, operation: DestroyOperation): void {
  for (const id of operation.inodes) {
    const inode = state.inode(id);
    if (inode.extents) mapRange(state, inode, 0, Number.MAX_SAFE_INTEGER, []);
    if (inode.bytes) setBytes(state, inode, EMPTY);
    if (inode.attributeRecord !== 0) state.freeId(inode.attributeRecord);
    state.orphans.delete(id);
    state.inodes--;
    state.freeId(id);
  }
}
