// Linear algebra of small matrices. A matrix is a Float64Array, row after row; sizes are given beside it.

function dot(a, b, size, fromA = 0, fromB = 0) {
  // Four sums side by side: an addition need not wait for the one before.
  let [p, q, r, s] = [0, 0, 0, 0];
  let i = 0;
  for (; i + 3 < size; i += 4) {
    p += a[fromA + i] * b[fromB + i];
    q += a[fromA + i + 1] * b[fromB + i + 1];
    r += a[fromA + i + 2] * b[fromB + i + 2];
    s += a[fromA + i + 3] * b[fromB + i + 3];
  }
  for (; i < size; i++) p += a[fromA + i] * b[fromB + i];
  return p + q + (r + s);
}

function norm(a) {
  return Math.sqrt(dot(a, a, a.length));
}

// A Aᵀ of A [m, n].
function gram(A, m, n) {
  const G = new Float64Array(m * m);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j <= i; j++) G[i * m + j] = G[j * m + i] = dot(A, A, n, i * n, j * n);
  }
  return G;
}

// A B of A [m, n] and B [n, p].
function product(A, B, m, n, p) {
  const C = new Float64Array(m * p);
  for (let i = 0; i < m; i++) {
    for (let k = 0; k < n; k++) {
      const a = A[i * n + k];
      for (let j = 0; j < p; j++) C[i * p + j] += a * B[k * p + j];
    }
  }
  return C;
}

function transpose(A, m, n) {
  const T = new Float64Array(m * n);
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) T[j * m + i] = A[i * n + j];
  return T;
}

// Eigenvalues of a symmetric S [n, n], largest first, and eigenvectors as rows [n, n]: cyclic Jacobi rotations.
// Source: Golub and Van Loan, "Matrix Computations", 2013, section 8.5.
function symmetricEigen(S, n) {
  const A = Float64Array.from(S);
  const V = new Float64Array(n * n);
  for (let i = 0; i < n; i++) V[i * n + i] = 1;
  for (let sweep = 0; sweep < 30; sweep++) {
    let off = 0;
    let all = 0;
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) {
      all += A[i * n + j] ** 2;
      if (i !== j) off += A[i * n + j] ** 2;
    }
    if (off <= 1e-32 * all) break;
    for (let p = 0; p < n - 1; p++) for (let q = p + 1; q < n; q++) rotate(A, V, n, p, q);
  }
  const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => A[j * n + j] - A[i * n + i]);
  const vectors = new Float64Array(n * n);
  order.forEach((from, to) => vectors.set(V.subarray(from * n, from * n + n), to * n));
  return { values: order.map((i) => A[i * n + i]), vectors };
}

// The rotation of rows and columns p and q that makes A[p, q] zero, applied to the rows of V, too.
function rotate(A, V, n, p, q) {
  const apq = A[p * n + q];
  if (apq === 0) return;
  const tau = (A[q * n + q] - A[p * n + p]) / (2 * apq);
  const t = (tau < 0 ? -1 : 1) / (Math.abs(tau) + Math.hypot(1, tau));
  const c = 1 / Math.hypot(1, t);
  const s = t * c;
  for (let k = 0; k < n; k++) {
    const [x, y] = [A[k * n + p], A[k * n + q]];
    A[k * n + p] = c * x - s * y;
    A[k * n + q] = s * x + c * y;
  }
  for (let k = 0; k < n; k++) {
    const [x, y] = [A[p * n + k], A[q * n + k]];
    A[p * n + k] = c * x - s * y;
    A[q * n + k] = s * x + c * y;
    const [u, v] = [V[p * n + k], V[q * n + k]];
    V[p * n + k] = c * u - s * v;
    V[q * n + k] = s * u + c * v;
  }
}

// Q [r, d] with orthonormal rows that is nearest to A [r, d] of full rank r ≤ d: (A Aᵀ)^{−1/2} A.
function polarFactor(A, r, d) {
  const { values, vectors } = symmetricEigen(gram(A, r, d), r);
  const root = new Float64Array(r * r);
  for (let e = 0; e < r; e++) {
    if (!(values[e] > 1e-14 * values[0])) continue;
    for (let i = 0; i < r; i++) for (let j = 0; j < r; j++) {
      root[i * r + j] += (vectors[e * r + i] * vectors[e * r + j]) / Math.sqrt(values[e]);
    }
  }
  return product(root, A, r, r, d);
}
