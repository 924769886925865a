// The program `zdb`: hands the machine to the server.
//
// Compiled code is cached beside the installed packages: without that, removing the types at each start costs 300 ms of processor
// time and 40 MB of memory. Where the cache cannot be written everything works, only slower.
import { enableCompileCache, flushCompileCache } from 'node:module';
import { fileURLToPath } from 'node:url';

enableCompileCache(fileURLToPath(new URL('../../../node_modules/.cache/compiled', import.meta.url)));

// Node would open a debugger's port. The launchers start it with --disable-sigusr1: then what comes before the server listens for it
// is answered when it does.
process.on('SIGUSR1', () => {});

const io = await import('@qsfs/io');
const { isToolName, withHelp } = await import('./server/options.ts');
const { EXIT, runProgram } = await import('./server/program.ts');
const words = withHelp(process.argv.slice(2));
const tools = isToolName(words[0]) ? await import('./tools/index.ts') : undefined;
flushCompileCache();

// A reader of our output that goes away must not take the server with it.
process.stdout.on('error', () => {});
process.stderr.on('error', () => {});

try {
  const machine = {
    disk: io.realDisk,
    network: io.realNetwork,
    clock: io.realClock,
    random: io.realRandom,
    processes: io.realProcesses,
    libc: io.loadLibc,
    resolveHost: io.resolveHost,
    programPath: import.meta.filename,
    output: (text: string) => void process.stdout.write(text),
    errors: (text: string) => void process.stderr.write(text),
    onFatal: (call: (error: unknown) => void) => void process.on('uncaughtException', call),
  };
  const code = await (tools?.runTool(words[0]!, words.slice(1), machine) ?? runProgram(words, machine));
  await io.endProcess(code);
} catch (error) {
  process.stderr.write(`zdb: internal error, please report it: ${(error as Error).stack}\n`);
  await io.endProcess(EXIT.internal);
}
