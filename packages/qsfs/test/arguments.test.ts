import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Grammar, parseWords, usageLine } from '../src/cli/arguments.ts';
import { VERBS } from '../src/cli/verbs.ts';

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

test('every command explains itself', () => {
  for (const verb of VERBS) {
    assert.match(usageLine(verb.grammar), new RegExp(`^${verb.grammar.verb}`));
    assert.ok(verb.summary.length > 10 && verb.examples.length > 0);
    for (const option of verb.grammar.options) assert.ok(option.help.length > 5);
  }
});
