// Where a flow starts. Random numbers are the page's own, so that a link means the same start in every browser.

// Uniform numbers in (0, 1): the 32-bit mixing function "lowbias32" (Wellons, "Prospecting for Hash Functions", 2018)
// of a counter, whose steps are the golden ratio's; two outputs make the 53 bits of a number.
function uniforms(seed) {
  let counter = Math.imul(seed + 1, 0x85ebca6b) >>> 0;
  const next = () => {
    counter = (counter + 0x9e3779b9) >>> 0;
    let x = counter;
    x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
    return (x ^ (x >>> 16)) >>> 0;
  };
  return () => ((next() >>> 5) * 67108864 + (next() >>> 6) + 0.5) / 9007199254740992;
}

// Normal numbers N(0, 1) from pairs of uniform ones: Box and Muller, "A Note on the Generation of Random Normal
// Deviates", 1958.
function normals(seed) {
  const uniform = uniforms(seed);
  let kept = null;
  return () => {
    if (kept !== null) {
      const value = kept;
      kept = null;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(uniform()));
    const angle = 2 * Math.PI * uniform();
    kept = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
}

// Samples in each class: n in the first half, n / imbalance in the others.
function classCounts(K, n, imbalance) {
  const few = Math.max(1, Math.round(n / imbalance));
  return Array.from({ length: K }, (_, k) => (k < Math.ceil(K / 2) ? n : few));
}

// Sizes of a problem, with the class of each sample, sorted.
function problemOf(counts, d) {
  const N = counts.reduce((sum, n) => sum + n, 0);
  const labels = new Int32Array(N);
  let i = 0;
  counts.forEach((n, k) => { for (let j = 0; j < n; j++) labels[i++] = k; });
  return { K: counts.length, d, N, counts, labels };
}

// y = (W, H): the rows w_k [K, d], then the features h_i [N, d], entries N(0, scale²/d), so that lengths are near scale.
function randomStart(problem, seed, scale) {
  const normal = normals(seed);
  const spread = scale / Math.sqrt(problem.d);
  return Float64Array.from({ length: (problem.K + problem.N) * problem.d }, () => spread * normal());
}
