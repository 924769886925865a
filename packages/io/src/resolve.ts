// Names of hosts to addresses, by the machine's own resolver.
import { lookup } from 'node:dns/promises';

/**
 * The first address of a host name; an address is answered as it is.
 * @throws an error with code ENOTFOUND, EAI_AGAIN, …
 */
export async function resolveHost(host: string): Promise<string> {
  return (await lookup(host)).address;
}
