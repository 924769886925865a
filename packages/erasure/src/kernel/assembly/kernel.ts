// The inner loop of the Reed-Solomon coder, for AssemblyScript. Built by `scripts/build-kernel.mjs`.
//
// Multiplication by a constant c in GF(2^8) is linear over XOR, so c * x = c * (x & 0x0f) ^ c * (x & 0xf0): two look-ups
// in tables of 16 bytes, which a byte shuffle does for 16 bytes at once (Plank, Greenan, Miller: Screaming Fast Galois
// Field Arithmetic Using Intel SIMD Instructions, FAST 2013). Several outputs are computed per pass so that a source byte
// is loaded and split once for all of them; 32 bytes at a time so that a table is loaded once for two vectors.
// The shuffle's indices are always 0 … 15, where relaxed_swizzle is defined to be the same on every processor.
//
// Memory, all addresses absolute: `sources` and `outputs` point to arrays of 32-bit addresses of k and r shards of
// `length` bytes, none of the outputs overlapping anything else. `tables` holds, for each group of outputs (the groups
// of `groupSize`, in order), for each source, for each output of the group, 16 products of low and 16 of high nibbles.

// @ts-ignore: decorator
@inline
const STEP: usize = 32;

/** Outputs computed together when `left` remain: fours, and a five rather than a four and a one. */
// @ts-ignore: decorator
@inline
function groupSize(left: i32): i32 {
  return left == 5 ? 5 : left < 4 ? left : 4;
}

/** outputs[g] = sum over j of coefficient(g, j) * sources[j], for all bytes of all r outputs, `block` bytes at a time. */
export function combine(
  sources: usize,
  k: i32,
  outputs: usize,
  r: i32,
  tables: usize,
  length: usize,
  block: usize,
): void {
  if (length < STEP) {
    let group = 0;
    let table = tables;
    for (let done = 0; done < r; done += group) {
      group = groupSize(r - done);
      for (let o = 0; o < group; o++) {
        bytes(sources, k, load<u32>(outputs + (<usize>(done + o) << 2)), table + (<usize>o << 5), <usize>group << 5, length);
      }
      table += <usize>(group * k) << 5;
    }
    return;
  }
  for (let from: usize = 0; from < length; from += block) {
    const to = min(from + block, length);
    let group = 0;
    let table = tables;
    for (let done = 0; done < r; done += group) {
      group = groupSize(r - done);
      const first = outputs + (<usize>done << 2);
      if (group == 4) vectors(4, sources, k, first, table, from, to);
      else if (group == 5) vectors(5, sources, k, first, table, from, to);
      else if (group == 3) vectors(3, sources, k, first, table, from, to);
      else if (group == 2) vectors(2, sources, k, first, table, from, to);
      else vectors(1, sources, k, first, table, from, to);
      table += <usize>(group * k) << 5;
    }
  }
}

/** One output of a shard shorter than a step. */
function bytes(sources: usize, k: i32, output: usize, table: usize, stride: usize, length: usize): void {
  for (let i: usize = 0; i < length; i++) {
    let sum: u32 = 0;
    let t = table;
    for (let j = 0; j < k; j++) {
      const value = <u32>load<u8>(<usize>load<u32>(sources + (<usize>j << 2)) + i);
      sum ^= <u32>load<u8>(t + <usize>(value & 15)) ^ <u32>load<u8>(t + 16 + <usize>(value >> 4));
      t += stride;
    }
    store<u8>(output + i, <u8>sum);
  }
}

/**
 * Bytes from … to of `count` outputs; `count` is a constant at every call, so the conditions on it vanish. The last step
 * is moved back to end at `to`: it computes some bytes a second time, to the same values, instead of needing a tail.
 */
// @ts-ignore: decorator
@inline
function vectors(count: i32, sources: usize, k: i32, outputs: usize, tables: usize, from: usize, to: usize): void {
  const mask = i8x16.splat(15);
  const end = sources + (<usize>k << 2);
  const last = to - STEP;
  const o0 = <usize>load<u32>(outputs);
  const o1 = count > 1 ? <usize>load<u32>(outputs, 4) : 0;
  const o2 = count > 2 ? <usize>load<u32>(outputs, 8) : 0;
  const o3 = count > 3 ? <usize>load<u32>(outputs, 12) : 0;
  const o4 = count > 4 ? <usize>load<u32>(outputs, 16) : 0;
  for (let position = from; position < to; position += STEP) {
    const i = min(position, last);
    let a0 = i8x16.splat(0), b0 = a0, a1 = a0, b1 = a0, a2 = a0, b2 = a0, a3 = a0, b3 = a0, a4 = a0, b4 = a0;
    let t = tables;
    for (let s = sources; s < end; s += 4) {
      const source = <usize>load<u32>(s) + i;
      const a = v128.load(source);
      const b = v128.load(source, 16);
      const aLow = v128.and(a, mask);
      const aHigh = i8x16.shr_u(a, 4);
      const bLow = v128.and(b, mask);
      const bHigh = i8x16.shr_u(b, 4);
      let low = v128.load(t);
      let high = v128.load(t, 16);
      a0 = v128.xor(a0, v128.xor(i8x16.relaxed_swizzle(low, aLow), i8x16.relaxed_swizzle(high, aHigh)));
      b0 = v128.xor(b0, v128.xor(i8x16.relaxed_swizzle(low, bLow), i8x16.relaxed_swizzle(high, bHigh)));
      if (count > 1) {
        low = v128.load(t, 32);
        high = v128.load(t, 48);
        a1 = v128.xor(a1, v128.xor(i8x16.relaxed_swizzle(low, aLow), i8x16.relaxed_swizzle(high, aHigh)));
        b1 = v128.xor(b1, v128.xor(i8x16.relaxed_swizzle(low, bLow), i8x16.relaxed_swizzle(high, bHigh)));
      }
      if (count > 2) {
        low = v128.load(t, 64);
        high = v128.load(t, 80);
        a2 = v128.xor(a2, v128.xor(i8x16.relaxed_swizzle(low, aLow), i8x16.relaxed_swizzle(high, aHigh)));
        b2 = v128.xor(b2, v128.xor(i8x16.relaxed_swizzle(low, bLow), i8x16.relaxed_swizzle(high, bHigh)));
      }
      if (count > 3) {
        low = v128.load(t, 96);
        high = v128.load(t, 112);
        a3 = v128.xor(a3, v128.xor(i8x16.relaxed_swizzle(low, aLow), i8x16.relaxed_swizzle(high, aHigh)));
        b3 = v128.xor(b3, v128.xor(i8x16.relaxed_swizzle(low, bLow), i8x16.relaxed_swizzle(high, bHigh)));
      }
      if (count > 4) {
        low = v128.load(t, 128);
        high = v128.load(t, 144);
        a4 = v128.xor(a4, v128.xor(i8x16.relaxed_swizzle(low, aLow), i8x16.relaxed_swizzle(high, aHigh)));
        b4 = v128.xor(b4, v128.xor(i8x16.relaxed_swizzle(low, bLow), i8x16.relaxed_swizzle(high, bHigh)));
      }
      t += <usize>count << 5;
    }
    v128.store(o0 + i, a0);
    v128.store(o0 + i, b0, 16);
    if (count > 1) {
      v128.store(o1 + i, a1);
      v128.store(o1 + i, b1, 16);
    }
    if (count > 2) {
      v128.store(o2 + i, a2);
      v128.store(o2 + i, b2, 16);
    }
    if (count > 3) {
      v128.store(o3 + i, a3);
      v128.store(o3 + i, b3, 16);
    }
    if (count > 4) {
      v128.store(o4 + i, a4);
      v128.store(o4 + i, b4, 16);
    }
  }
}
