// Who this frontend is, on its own disk (docs/formats/frontend.md, "Identity"). Read when the volume is opened,
// replaced atomically whenever the epoch or the generation moves.
import { type Disk, readWhole, replaceWhole } from '@qsfs/io';
import { QsfsError } from '../errors.ts';

/** The identity of a frontend. */
export interface Identity {
  /** 32 hex digits, the same on every frontend the volume ever had. */
  readonly volumeId: string;
  /** 32 hex digits, new with every restore. */
  readonly frontendId: string;
  /** Which take-over of the volume this frontend is; the first is 1. */
  readonly epoch: number;
  /** The last sync point begun; numbers are never used twice. */
  readonly generation: number;
  /** Sizes the volume was made with; they never change. */
  readonly stripeBytes: number;
  readonly segmentBytes: number;
  readonly createdMs: number;
}

const NUMBERS = ['epoch', 'generation', 'stripeBytes', 'segmentBytes', 'createdMs'] as const;
const IDS = ['volumeId', 'frontendId'] as const;

/** The identity stored at a path, or undefined when there is none. @throws QsfsError QSFS_E_DISK when it is damaged */
export function readIdentity(disk: Disk, path: string): Identity | undefined {
  const content = readWhole(disk, path);
  if (!content) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(content).toString('utf8'));
  } catch {
    value = undefined;
  }
  if (!isIdentity(value)) {
    throw new QsfsError(
      'QSFS_E_DISK',
      `${path} is damaged`,
      'The data is safe on the backends: remove the folder "frontend" and type "qsfs restore".',
    );
  }
  return value;
}

/** Replaces the stored identity; it is on stable storage on return. */
export function writeIdentity(disk: Disk, path: string, identity: Identity): void {
  replaceWhole(disk, path, Buffer.from(`${JSON.stringify(identity, undefined, 2)}\n`));
}

function isIdentity(value: unknown): value is Identity {
  if (typeof value !== 'object' || value === null) return false;
  const record = value as Record<string, unknown>;
  return (
    NUMBERS.every((name) => Number.isFinite(record[name])) &&
    IDS.every((name) => typeof record[name] === 'string' && /^[0-9a-f]{32}$/.test(record[name]))
  );
}
