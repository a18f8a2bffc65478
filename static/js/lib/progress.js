// The bar of a plan's tasks, as templates/tracker/_progress.html draws it first.

import { setText } from "./dom.js";

/** node: .progress; counts: {done, failed, cancelled, total}. Widths are percent of the bar. */
export function drawProgress(node, { done, failed, cancelled = 0, total }) {
  const rects = node.querySelectorAll("rect");
  let from = 0;
  [done, failed, cancelled].forEach((count, index) => {
    const share = total ? (count / total) * 100 : 0;
    rects[index].setAttribute("x", from);
    rects[index].setAttribute("width", share);
    from += share;
  });
  setText(node.querySelector(".done"), `${done}/${total}`);
  const failures = node.querySelector(".failed");
  failures.hidden = !failed;
  setText(failures.querySelector(".word"), `${failed} failed`);
  node.querySelector("svg[role=img]").setAttribute("aria-label", label({ done, failed, cancelled, total }));
}

const label = ({ done, failed, cancelled, total }) =>
  `${done} of ${total} tasks completed${failed ? `, ${failed} failed` : ""}${cancelled ? `, ${cancelled} cancelled` : ""}`;
