// The end of a process. Node writes to pipes in the background: what was printed last is lost when the process exits before a slow reader has
// taken it.

/** What a process that was told to end waits for its readers. */
const TOLD_MS = 1000;
/** Exit codes from here on say that a signal ended the process. */
const SIGNALLED = 128;

/**
 * Ends this process when all that it printed was taken. One that a signal ends (code 128 and more) waits for a second at most: its reader may be
 * what hangs.
 */
export async function endProcess(code: number): Promise<never> {
  const taken = [process.stdout, process.stderr].map(
    (stream) => new Promise<void>((resolve) => void stream.write('', () => resolve())),
  );
  if (code >= SIGNALLED) setTimeout(() => process.exit(code), TOLD_MS);
  await Promise.all(taken);
  process.exit(code);
}
