// Matrices over GF(2^8), and the two kinds the coder needs: the parity rows of the code, and what makes wanted shards
// from the shards that are left.
import { inverse, PRODUCTS, power } from './field.ts';

/** Row-major: the entry of row r and column c is `bytes[r * columns + c]`. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly bytes: Uint8Array;
}

function zeros(rows: number, columns: number): Matrix {
  return { rows, columns, bytes: new Uint8Array(rows * columns) };
}

function product(a: Matrix, b: Matrix): Matrix {
  const result = zeros(a.rows, b.columns);
  for (let r = 0; r < a.rows; r++) {
    for (let i = 0; i < a.columns; i++) {
      addMultiple(result, r, b, i, a.bytes[r * a.columns + i]!);
    }
  }
  return result;
}

/** Adds `factor` times a row of `source` to a row of `target`. */
function addMultiple(
  target: Matrix,
  targetRow: number,
  source: Matrix,
  sourceRow: number,
  factor: number,
): void {
  if (factor === 0) return;
  const { columns } = target;
  for (let c = 0; c < columns; c++) {
    target.bytes[targetRow * columns + c]! ^=
      PRODUCTS[factor * 256 + source.bytes[sourceRow * columns + c]!]!;
  }
}

/**
 * Inverse of a square matrix, by Gauss-Jordan elimination.
 * @throws RangeError when it is singular
 */
export function invert(matrix: Matrix): Matrix {
  const size = matrix.rows;
  const left: Matrix = { ...matrix, bytes: matrix.bytes.slice() };
  const right = zeros(size, size);
  for (let i = 0; i < size; i++) right.bytes[i * size + i] = 1;
  for (let i = 0; i < size; i++) {
    let pivot = i;
    while (pivot < size && left.bytes[pivot * size + i] === 0) pivot++;
    if (pivot === size) throw new RangeError('the matrix is singular');
    if (pivot !== i) for (const half of [left, right]) swapRows(half, i, pivot);
    // Adding (1/p - 1) times the row to itself divides it by p.
    const factor = inverse(left.bytes[i * size + i]!) ^ 1;
    for (const half of [left, right]) addMultiple(half, i, { ...half, bytes: half.bytes.slice() }, i, factor);
    for (let r = 0; r < size; r++) {
      if (r === i) continue;
      const multiple = left.bytes[r * size + i]!;
      for (const half of [left, right]) addMultiple(half, r, half, i, multiple);
    }
  }
  return right;
}

function swapRows(matrix: Matrix, a: number, b: number): void {
  const { columns, bytes } = matrix;
  const row = bytes.slice(a * columns, (a + 1) * columns);
  bytes.copyWithin(a * columns, b * columns, (b + 1) * columns);
  bytes.set(row, b * columns);
}

/**
 * The m parity rows of the systematic Vandermonde code (zstor: object pipeline, "Erasure coding"): with V[r][c] = r^c for
 * r < k + m and c < k, the code is V times the inverse of its first k rows; those rows become the identity.
 * @returns m rows of k columns: parity[j] = sum over i of row j, column i, times data[i]
 */
export function parityRows(k: number, m: number): Matrix {
  const top = zeros(k, k);
  const bottom = zeros(m, k);
  for (let c = 0; c < k; c++) {
    for (let r = 0; r < k; r++) top.bytes[r * k + c] = power(r, c);
    for (let r = 0; r < m; r++) bottom.bytes[r * k + c] = power(k + r, c);
  }
  return product(bottom, invert(top));
}

/**
 * What makes shards from k others. Only the missing data shards E cost an inversion: with P the parity shards used, and D
 * the data shards that are there, P = G(P,D) D + G(P,E) E, so E = G(P,E)^-1 (P + G(P,D) D). G(P,E) can always be
 * inverted because any k rows of the code can.
 * @param parity the code's parity rows
 * @param sources indices of k different shards that are there, data shards (index < k) first
 * @param wanted indices of shards to make, none of them in `sources`
 * @returns one row per wanted shard, one column per source
 */
export function reconstructionRows(
  parity: Matrix,
  sources: readonly number[],
  wanted: readonly number[],
): Matrix {
  const k = parity.columns;
  const here = sources.filter((index) => index < k);
  const used = sources.slice(here.length).map((index) => index - k);
  const isHere = new Set(here);
  const lost = Array.from({ length: k }, (_, index) => index).filter((index) => !isHere.has(index));
  const code = (row: number, column: number): number => parity.bytes[row * k + column]!;

  const square = zeros(used.length, lost.length);
  const rest = zeros(used.length, k);
  for (const [r, row] of used.entries()) {
    for (const [c, column] of lost.entries()) square.bytes[r * lost.length + c] = code(row, column);
    for (const [c, column] of here.entries()) rest.bytes[r * k + c] = code(row, column);
    rest.bytes[r * k + here.length + r] = 1;
  }
  const lostRows = product(invert(square), rest);

  const result = zeros(wanted.length, k);
  for (const [r, index] of wanted.entries()) {
    if (index < k) {
      addMultiple(result, r, lostRows, lost.indexOf(index), 1);
      continue;
    }
    for (const [c, column] of here.entries()) result.bytes[r * k + c] = code(index - k, column);
    for (const [i, column] of lost.entries()) addMultiple(result, r, lostRows, i, code(index - k, column));
  }
  return result;
}
