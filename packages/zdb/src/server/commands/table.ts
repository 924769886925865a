// All commands, in the order in which a prefix selects them (specification section 2.3).
import { CommandTable } from '../command.ts';
import type { Session } from '../session.ts';
import { COMPACT } from './compaction.ts';
import * as handshake from './handshake.ts';
import * as keys from './keys.ts';
import * as namespaces from './namespaces.ts';
import * as system from './system.ts';
import * as walks from './walks.ts';

/** The command table. @param debug KSCAN and STOP as in the reference's debug build */
export function commandTable(debug: boolean): CommandTable<Session> {
  return new CommandTable([
    system.ASTERISK,
    system.WAIT,
    system.MIRROR,
    system.MASTER,
    system.PING,
    system.TIME,
    system.AUTH,
    system.HOOKS,
    system.INDEX,
    system.DATA,
    keys.SET,
    keys.SETX,
    keys.GET,
    keys.MGET,
    keys.DEL,
    keys.EXISTS,
    keys.CHECK,
    walks.SCAN,
    walks.SCANX,
    walks.RSCAN,
    walks.prefixScan(debug),
    walks.HISTORY,
    walks.KEYCUR,
    keys.LENGTH,
    keys.KEYTIME,
    system.INFO,
    system.stopping(debug),
    walks.DBSIZE,
    namespaces.NSNEW,
    namespaces.NSDEL,
    namespaces.NSLIST,
    namespaces.NSSET,
    namespaces.NSINFO,
    namespaces.NSJUMP,
    namespaces.SELECT,
    namespaces.RELOAD,
    namespaces.FLUSH,
    handshake.HELLO,
    handshake.CLIENT,
    handshake.QUIT,
    COMPACT,
  ]);
}
