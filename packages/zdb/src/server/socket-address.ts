// Socket addresses as the kernel wants them: struct sockaddr_in, sockaddr_in6 and sockaddr_un (ip(7), ipv6(7), unix(7)).
import { type Address, IoError } from '@qsfs/io';

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
/** Longest path of a unix socket; the field has one byte more for its end. */
export const MAX_SOCKET_PATH_BYTES = 107;

/** An encoded socket address. */
export interface SocketAddress {
  readonly family: number;
  readonly bytes: Uint8Array;
  /** For IPv6: false for the unspecified address, which then takes IPv4 connections too. */
  readonly v6only: boolean | undefined;
}

/** Encodes an address. @throws IoError(EINVAL) when a host is a name, ENAMETOOLONG for a path over 107 bytes */
export function encodeSocketAddress(address: Address): SocketAddress {
  if ('path' in address) {
    const path = Buffer.from(address.path);
    if (path.length > MAX_SOCKET_PATH_BYTES) {
      throw new IoError('ENAMETOOLONG', `listen on ${address.path}: at most ${MAX_SOCKET_PATH_BYTES} bytes`);
    }
    const bytes = Buffer.alloc(2 + path.length + 1);
    writeFamily(bytes, AF_UNIX);
    path.copy(bytes, 2);
    return { family: AF_UNIX, bytes, v6only: undefined };
  }
  const dotted = dottedBytes(address.host);
  if (dotted !== undefined) {
    const bytes = Buffer.alloc(16);
    writeFamily(bytes, AF_INET);
    bytes.writeUInt16BE(address.port, 2);
    Buffer.from(dotted).copy(bytes, 4);
    return { family: AF_INET, bytes, v6only: undefined };
  }
  const groups = groupsOf(address.host);
  if (groups === undefined) throw new IoError('EINVAL', `listen on ${address.host}: not an IP address`);
  const bytes = Buffer.alloc(28);
  writeFamily(bytes, AF_INET6);
  bytes.writeUInt16BE(address.port, 2);
  Buffer.from(groups.flatMap((group) => [group >> 8, group & 255])).copy(bytes, 8);
  return { family: AF_INET6, bytes, v6only: bytes.subarray(8, 24).some((byte) => byte !== 0) };
}

/** The port of an encoded IPv4 or IPv6 address. */
export function portOf(bytes: Uint8Array): number {
  return (bytes[2]! << 8) | bytes[3]!;
}

function writeFamily(bytes: Uint8Array, family: number): void {
  // sa_family_t is in the machine's byte order.
  new Uint16Array(bytes.buffer, bytes.byteOffset, 1)[0] = family;
}

/** The four bytes of a dotted IPv4 address. */
function dottedBytes(host: string): number[] | undefined {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(host)?.slice(1).map(Number);
  return parts?.every((part) => part < 256) ? parts : undefined;
}

/** The eight 16-bit groups of an IPv6 address. */
function groupsOf(host: string): number[] | undefined {
  let text = host;
  const cut = text.lastIndexOf(':') + 1;
  const dotted = dottedBytes(text.slice(cut));
  if (dotted !== undefined) {
    const [a, b, c, d] = dotted as [number, number, number, number];
    text = `${text.slice(0, cut)}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  }
  if (!/^[0-9a-fA-F:]+$/.test(text)) return undefined;
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half) => (half === '' ? [] : half.split(':'))) as [string[], string[]?];
  const written = [...head, ...(tail ?? [])];
  if (!written.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return undefined;
  const missing = 8 - written.length;
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined;
  return [...head, ...new Array<string>(missing).fill('0'), ...(tail ?? [])].map((group) =>
    Number.parseInt(group, 16),
  );
}
