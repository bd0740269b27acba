// Numbers of any size in words, as ulpm/demo/clock.py writes them.

function powerOfTen(exponent) {
  const digits = String(Math.round(exponent)).split("");
  return "10" + digits.map((digit) => (digit === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit])).join("");
}

// 10^log10: 0, 0.35, 42, 6.9·10⁻¹², 3.1·10⁴²³.
function scientific(log10) {
  if (log10 === -Infinity) return "0";
  if (!Number.isFinite(log10)) return "–";
  if (log10 > -3 && log10 < 4) return log10 < 2 ? String(Number((10 ** log10).toPrecision(2))) : (10 ** log10).toFixed(0);
  let exponent = Math.floor(log10);
  let mantissa = (10 ** (log10 - exponent)).toFixed(1);
  if (mantissa === "10.0") [exponent, mantissa] = [exponent + 1, "1.0"];
  return mantissa === "1.0" ? powerOfTen(exponent) : `${mantissa}·${powerOfTen(exponent)}`;
}

// Those of ascending ticks that can be read; the last one stays.
function spreadOut(ticks, least) {
  const kept = [];
  ticks.forEach((tick, i) => {
    if (!kept.length || tick[0] - kept[kept.length - 1][0] >= least) kept.push(tick);
    else if (i === ticks.length - 1) kept[kept.length - 1] = tick;
  });
  return kept;
}
