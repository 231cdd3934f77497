// Numbers: which answer is better, how probably, and where a bar begins and ends.

/** The probability that a reward beats another, after Bradley and Terry. */
export function beats(reward, other) {
  return 1 / (1 + Math.exp(other - reward));
}

/** Places of the answers, the best first; equal ones in their order. */
export function ranked(rewards) {
  return rewards.map((_, place) => place).sort((a, b) => rewards[b] - rewards[a] || a - b);
}

/** The rank of each answer from 1 on: equal rewards have equal ranks. */
export function ranks(rewards) {
  return rewards.map((reward) => 1 + rewards.filter((other) => other > reward).length);
}

/** Of all pairs of answers, how many both models put in the same order (ties with ties). */
export function agreement(first, second) {
  let same = 0;
  let of = 0;
  for (let a = 0; a < first.length; a += 1) {
    for (let b = a + 1; b < first.length; b += 1) {
      of += 1;
      same += Math.sign(first[a] - first[b]) === Math.sign(second[a] - second[b]);
    }
  }
  return { same, of };
}

/** The scale of the bars: from 0 where that is not far away, else from below the least reward. */
export function scaleOf(rewards, spreads = null) {
  const lows = rewards.map((reward, place) => reward - (spreads?.[place] ?? 0));
  const highs = rewards.map((reward, place) => reward + (spreads?.[place] ?? 0));
  let low = Math.min(...lows);
  let high = Math.max(...highs);
  const near = Math.min(Math.abs(low), Math.abs(high)) <= 0.6 * Math.max(Math.abs(low), Math.abs(high));
  const fromZero = near || (low <= 0 && high >= 0);
  if (fromZero) {
    low = Math.min(low, 0);
    high = Math.max(high, 0);
  } else {
    const room = Math.max(0.15 * (high - low), 0.01 * Math.abs(high));
    low -= room;
    high += room;
  }
  if (low === high) high = low + 1;
  const at = (value) => (value - low) / (high - low);
  return { low, high, at, base: fromZero ? 0 : low };
}

/** A number with four digits or so, and a true minus sign. */
export function short(value) {
  if (value === 0) return "0";
  const digits = Math.abs(value) >= 1000 ? 0 : Math.abs(value) >= 100 ? 1 : Math.abs(value) >= 10 ? 2 : 3;
  const shown = value.toFixed(digits);
  return (Number(shown) === 0 ? shown.replace("-", "") : shown).replace("-", "−");
}

/** A probability in percent; nothing that is not sure is shown as 0% or 100%. */
export function percent(share) {
  if (share > 0.995 && share < 1) return share > 0.9995 ? ">99.9%" : `${(100 * share).toFixed(1)}%`;
  if (share < 0.005 && share > 0) return share < 0.0005 ? "<0.1%" : `${(100 * share).toFixed(1)}%`;
  return `${Math.round(100 * share)}%`;
}

/** A, B, ... Z, AA, AB, ... */
export function letter(place) {
  return (place >= 26 ? letter(Math.floor(place / 26) - 1) : "") + String.fromCharCode(65 + (place % 26));
}
