// `npm run bench -- NAME [parameters]`: runs one benchmark; without a name it lists them. Each is a file here that exports
// `run(parameters)`, prints ratios against a peer or a baseline measured in the same run, and cleans up behind itself.

interface Benchmark {
  readonly about: string;
  readonly load: () => Promise<{ run(parameters: string[]): Promise<void> }>;
}

const BENCHMARKS: Readonly<Record<string, Benchmark>> = {
  erasure: {
    about: 'the Reed-Solomon kernel: encode, decode  [k m shardKiB]…',
    load: () => import('./erasure.ts'),
  },
  codec: {
    about: 'stripes: compress, encrypt, code  [threads k n stripeKiB]',
    load: () => import('./codec.ts'),
  },
  zdb: {
    about:
      'the zdb server against Redis  [--reference PATH] [--quick] [--only TEXT] [--clients N] [--pipeline N]',
    load: () => import('./zdb.ts'),
  },
  'zdb-engine': {
    about: 'the zdb engine alone, against the bare system calls  [keys]',
    load: () => import('./zdb-engine.ts'),
  },
  'zdb-index': {
    about: 'memory and start of a zdb with millions of keys  [--keys N] [--slots N] [--reference PATH]',
    load: () => import('./zdb-index.ts'),
  },
  zstor: {
    about: 'store and retrieve to local backends, with peak memory  [sizeMiB] [k+m …]',
    load: () => import('./zstor.ts'),
  },
  fuse: { about: 'the session loop with a filesystem in memory  [MiB]', load: () => import('./fuse.ts') },
  zdbfs: {
    about: 'the filesystem alone, against the plain disk  [sizeMiB] [files] [option…]',
    load: () => import('./zdbfs.ts'),
  },
  e2e: {
    about:
      'everything together on a real mount with eight backends, against the plain disk  [sizeMiB] [files]',
    load: () => import('./e2e.ts'),
  },
};

const [name, ...parameters] = process.argv.slice(2);
const chosen = name === undefined ? undefined : BENCHMARKS[name];
if (chosen) {
  const { run } = await chosen.load();
  await run(parameters);
} else {
  if (name !== undefined) process.stderr.write(`there is no benchmark "${name}"\n`);
  process.stdout.write('npm run bench -- NAME [parameters]\n\n');
  const width = Math.max(...Object.keys(BENCHMARKS).map((key) => key.length));
  for (const [key, { about }] of Object.entries(BENCHMARKS)) {
    process.stdout.write(`  ${key.padEnd(width)}  ${about}\n`);
  }
  process.exitCode = name === undefined ? 0 : 2;
}
