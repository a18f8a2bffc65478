// Coalesces paints: the first change paints at once, what follows within `pause` paints together. No animation frames,
// which do not come in hidden tabs: a page in the background is right the moment it is looked at.

/** paint: () => void; returns a function that asks for a paint, at most one every `pause` milliseconds. */
export function painter(paint, pause = 100) {
  let last = -Infinity;
  let timer = null;
  const run = () => {
    clearTimeout(timer);
    timer = null;
    last = performance.now();
    paint();
  };
  return () => {
    const wait = last + pause - performance.now();
    if (wait <= 0) run();
    else timer ??= setTimeout(run, wait);
  };
}
