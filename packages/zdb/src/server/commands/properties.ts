// The properties of NSSET (specification section 3.7).
import type { NamespaceMode, NamespaceSettings } from '../../engine/types.ts';
import type { Slot } from '../slot.ts';

type Change = Partial<NamespaceSettings> & { readonly mode?: NamespaceMode };

/** Numbers beyond 64 bits with a sign count as the nearest; negative ones stand for themselves modulo 2^64. */
const LIMIT_MAX = 2n ** 63n - 1n;
const LIMIT_MIN = -(2n ** 63n);

/**
 * Applies one property to a namespace; success always rewrites its descriptor.
 * @returns the error text when it is refused
 */
export function applyProperty(
  slot: Slot,
  property: string,
  value: Uint8Array,
  singleMode: boolean,
): string | undefined {
  const change = changeOf(slot, property, value, singleMode);
  if (typeof change === 'string') return change;
  slot.namespace.configure(change);
  return undefined;
}

function changeOf(slot: Slot, property: string, value: Uint8Array, singleMode: boolean): Change | string {
  const on = value[0] === 49; // '1'
  switch (property) {
    case 'mode':
      return modeChange(slot, value, singleMode);
    case 'lock':
      return { locked: on, frozen: false };
    case 'freeze':
      return { locked: false, frozen: on };
  }
  if (slot.name === 'default') return 'Cannot update default namespace';
  switch (property) {
    case 'maxsize':
      return { maxSizeBytes: sizeOf(value) };
    case 'password':
      return { password: value.length === 1 && value[0] === 42 ? undefined : value };
    case 'public':
      return { public: on };
    case 'worm':
      return { worm: on };
    default:
      return 'Invalid property';
  }
}

function modeChange(slot: Slot, value: Uint8Array, singleMode: boolean): Change | string {
  if (singleMode) return 'This server instance is configured to use a single runtime mode';
  if (!slot.namespace.fresh) return 'Cannot change mode of used namespace';
  const mode = Buffer.from(value).toString('latin1');
  if (mode !== 'user' && mode !== 'seq') return 'Invalid property value (expected: user, seq)';
  return { mode };
}

/** Decimal, 64 bit; junk is 0, negative numbers wrap. Beyond 2^53 the nearest that a number can say; 2^64 stands for 2^64 - 1. */
function sizeOf(value: Uint8Array): number {
  const digits = /^\s*([+-]?\d+)/.exec(Buffer.from(value).toString('latin1'))?.[1];
  if (digits === undefined) return 0;
  const size = BigInt(digits.replace('+', ''));
  const nearest = size > LIMIT_MAX ? LIMIT_MAX : size < LIMIT_MIN ? LIMIT_MIN : size;
  return Number(BigInt.asUintN(64, nearest));
}
