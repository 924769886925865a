// The tools of `zdb`: `zdb NAME …`. They work on files of the reference as well.
import { ConnectionError, RespError } from '@qsfs/resp';
import { StoreError } from '../index.ts';
import type { Machine } from '../server/machine.ts';
import { CHECK } from './check.ts';
import { DUMP, EDIT_NAMESPACE } from './descriptor-tools.ts';
import { INDEX_DUMP } from './index-dump.ts';
import { MIRROR } from './mirror/mirror.ts';
import { COMPACT, INDEX_REBUILD } from './rebuild.ts';
import { parseToolLine, TOOL_EXIT, type Tool, ToolError, toolUsage } from './tool.ts';

/** All tools. */
export const TOOLS: readonly Tool[] = [
  CHECK,
  INDEX_DUMP,
  INDEX_REBUILD,
  DUMP,
  EDIT_NAMESPACE,
  COMPACT,
  MIRROR,
];

/** Runs a tool. @param line the words behind its name. @returns the exit code */
export async function runTool(name: string, line: readonly string[], machine: Machine): Promise<number> {
  const tool = TOOLS.find((one) => one.name === name);
  if (tool === undefined) throw new Error(`no tool ${name}`);
  if (line.includes('--help')) {
    machine.output(toolUsage(tool));
    return TOOL_EXIT.ok;
  }
  try {
    return await tool.run(parseToolLine(tool, line), machine);
  } catch (error) {
    if (!isOperators(error)) throw error;
    machine.errors(`zdb ${name}: ${(error as Error).message}\n`);
    return TOOL_EXIT.refused;
  }
}

/** Errors that are the operator's to solve, not ours. */
function isOperators(error: unknown): boolean {
  if (error instanceof ToolError || error instanceof StoreError) return true;
  if (error instanceof ConnectionError || error instanceof RespError) return true;
  return typeof (error as { code?: unknown } | null)?.code === 'string';
}
