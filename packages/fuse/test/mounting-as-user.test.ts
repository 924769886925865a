// Mounting without being root, through fusermount3.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { clearLeftovers, type Message, Place, Server, serve } from './mounted.ts';
import { Namespace } from './namespace.ts';
import type { ServeSettings } from './serve.ts';

const ROOT = process.getuid?.() === 0;
const WITH_FUSERMOUNT = {
  skip: spawnSync('fusermount3', ['--version']).error
    ? 'needs fusermount3; install the package fuse3'
    : false,
};
const WITH_TWO_USERS = { skip: WITH_FUSERMOUNT.skip || (ROOT ? false : 'needs two users') };
const home = new Place();
let namespace: Namespace;
let permissive: Namespace;

before(async () => {
  namespace = await Namespace.create(home, '# nobody lets others in\n');
  permissive = await Namespace.create(home, 'user_allow_other\n');
});

after(async () => {
  await namespace.close();
  await permissive.close();
  home.clear();
});
after(clearLeftovers);

async function refusal(settings: ServeSettings): Promise<Message> {
  const server = new Server({ ...settings, ...namespace.user }, namespace.prefix);
  const message = await server.message('error');
  await server.ended;
  return message;
}

test('somebody who is not root mounts, uses and unmounts', WITH_FUSERMOUNT, async () => {
  const place = new Place();
  const server = await serve(
    { mountPoint: place.mountPoint, allowOther: false, source: 'comma, back\\slash', ...namespace.user },
    namespace.prefix,
  );
  const script =
    'cd "$1" && echo hello > file && mkdir dir && mv file dir && cat dir/file && df . > /dev/null';
  const used = namespace.run(script, place.mountPoint);
  assert.equal(used.stderr, '');
  assert.equal(used.stdout, 'hello\n');
  const table = namespace.run('grep "$1" /proc/self/mountinfo', place.mountPoint).stdout;
  assert.match(table, /fuse\.memory comma,\\040back\\134slash /);
  if (ROOT) assert.match(namespace.runAsRoot('ls "$1"', place.mountPoint).stderr, /Permission denied/);
  await server.unmount();
  assert.ok(!namespace.isMounted(place));
  place.clear();
});

test(
  'after kill -9 the place answers errors, until the next start of the same user clears it',
  WITH_FUSERMOUNT,
  async () => {
    const place = new Place();
    const settings = { mountPoint: place.mountPoint, allowOther: false, ...namespace.user };
    const server = await serve(settings, namespace.prefix);
    await server.kill();
    assert.ok(namespace.isMounted(place));
    assert.match(namespace.run('ls "$1"', place.mountPoint).stderr, /Transport endpoint is not connected/);
    const next = new Server(settings, namespace.prefix);
    assert.equal((await next.message('mounted'))['replacedDead'], true);
    assert.equal(namespace.run('ls "$1"', place.mountPoint).stderr, '');
    await next.unmount();
    place.clear();
  },
);

test('letting others in without permission names the file and the line', WITH_FUSERMOUNT, async () => {
  const place = new Place();
  const message = await refusal({ mountPoint: place.mountPoint, allowOther: true });
  assert.equal(message['error'], 'not-permitted');
  assert.match(`${message['message']}`, /\/etc\/fuse\.conf.*user_allow_other/);
  assert.ok(!namespace.isMounted(place));
  place.clear();
});

test('others are let in where the machine permits it', WITH_TWO_USERS, async () => {
  const place = new Place();
  const settings = { mountPoint: place.mountPoint, allowOther: true, ...permissive.user };
  const server = await serve(settings, permissive.prefix);
  const used = permissive.runAsRoot('echo x > "$1/file" && ls "$1"', place.mountPoint);
  assert.equal(used.stdout, 'file\n');
  await server.unmount();
  place.clear();
});

test('a mount point that is not ours is refused with the reason', WITH_TWO_USERS, async () => {
  const place = new Place();
  chmodSync(place.mountPoint, 0o755);
  const message = await refusal({ mountPoint: place.mountPoint, allowOther: false });
  assert.equal(message['error'], 'not-permitted');
  assert.match(`${message['message']}`, /mount point must be yours/);
  place.clear();
});

test('without FFI only root can mount, and everybody else is told so', async () => {
  const place = new Place();
  const message = await refusal({ mountPoint: place.mountPoint, useLibc: false });
  assert.equal(message['error'], 'no-ffi');
  place.clear();
});
