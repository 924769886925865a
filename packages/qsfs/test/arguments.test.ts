import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type Grammar, parseWords, usageLine } from '../src/cli/arguments.ts';
import { VERBS } from '../src/cli/verbs.ts';
import { ERROR_KINDS } from '../src/errors.ts';

const grammar: Grammar = {
  verb: 'go',
  positionals: ['PLACE', '[TIME]'],
  options: [
    { name: 'dir', value: 'DIR', help: '' },
    { name: 'json', help: '' },
  ],
};

test('options are taken with a blank or an equals sign, before and behind words', () => {
  const words = parseWords(grammar, ['--dir=a=b', 'home', '--json', 'now']);
  assert.deepEqual(words.positionals, ['home', 'now']);
  assert.equal(words.value('dir'), 'a=b');
  assert.ok(words.has('json'));
  assert.equal(parseWords(grammar, ['--dir', 'x', 'home']).value('dir'), 'x');
  assert.deepEqual(parseWords(grammar, ['--', '--json']).positionals, ['--json']);
});

test('every misuse names what is wrong', () => {
  const cases: [string[], RegExp][] = [
    [[], /needs PLACE/],
    [['a', 'b', 'c'], /"c"/],
    [['a', '--nope'], /--nope/],
    [['a', '--dir'], /--dir needs a value/],
    [['a', '--dir='], /--dir needs a value/],
    [['a', '--json=1'], /takes no value/],
    [['a', '--json', '--json'], /twice/],
  ];
  for (const [words, message] of cases) assert.throws(() => parseWords(grammar, words), message);
});

test('what a command needs is refused when missing, and not in brackets in its help', () => {
  const needing: Grammar = {
    ...grammar,
    positionals: [],
    options: [
      { name: 'from', value: 'FILE', required: true, help: '' },
      { name: 'all', required: true, help: '' },
      { name: 'json', help: '' },
    ],
  };
  assert.throws(() => parseWords(needing, ['--json']), /"qsfs go" needs --from FILE and --all/);
  assert.throws(() => parseWords(needing, ['--from', 'x']), /"qsfs go" needs --all/);
  assert.equal(parseWords(needing, ['--all', '--from', 'x']).value('from'), 'x');
  assert.equal(usageLine(needing), 'go --from FILE --all [--json]');
  const lines = VERBS.map((verb) => usageLine(verb.grammar));
  assert.ok(lines.some((line) => line.startsWith('restore --from CONFIG --dir NEW [--mount M]')));
  assert.ok(lines.some((line) => line.startsWith('evict --all [--metadata]')));
});

test('the README has the table of exit codes', () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const rows = Object.entries(ERROR_KINDS).map(
    ([code, { exitCode, when }]) => `| ${exitCode} | \`${code}\` | ${when} |\n`,
  );
  assert.ok(readme.includes(`| 0 | | done |\n${rows.join('')}`), rows.join(''));
});

test('every command explains itself', () => {
  for (const verb of VERBS) {
    assert.match(usageLine(verb.grammar), new RegExp(`^${verb.grammar.verb}`));
    assert.ok(verb.summary.length > 10 && verb.examples.length > 0);
    for (const option of verb.grammar.options) assert.ok(option.help.length > 5);
  }
});
