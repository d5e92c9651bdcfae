// The reader's place: follow, "go to new text", what is selected. Nothing here scrolls unless it was asked to.
import { $, t } from "./page.js";

let following = false, set = 0, offered = true;

const end = () => ($("open") ?? $("report")?.lastElementChild)?.getBoundingClientRect().bottom ?? 0;

/** Whether something in an element is selected. */
export function selects(element) {
  const selection = getSelection();
  return Boolean(element && !selection.isCollapsed && selection.rangeCount && selection.getRangeAt(0).intersectsNode(element));
}

/** Follow the text, or let go. */
export function follow(on) {
  following = on;
  const button = $("follow");
  if (button) {
    button.setAttribute("aria-pressed", on);
    button.textContent = t(on ? "follow_off" : "follow");
  }
  if (on) place();
}

/** The text has grown: bring its end to two thirds of the window where that is wished, else offer to. */
export function grown() {
  if (following) place();
  else if (offered && $("go") && end() > innerHeight) offered = !($("go").hidden = false);
}

/** The frame was drawn again, or there is nothing more to follow. */
export function settled(live) {
  follow(following && live);
  if (!live && $("go")) $("go").hidden = true;
}

function place() {
  scrollTo({ top: scrollY + end() - (innerHeight * 2) / 3, behavior: "instant" });
  set = scrollY;
}

function goToNew() {
  $("go").hidden = true;
  place();
  $("report").focus({ preventScroll: true });
}

const letGo = () => following && follow(false);

addEventListener("scroll", () => {
  if (following && scrollY < set - 1) letGo();
  if ($("go") && end() <= innerHeight) offered = $("go").hidden = true;
}, { passive: true });
addEventListener("wheel", (event) => event.deltaY < 0 && letGo(), { passive: true });
addEventListener("touchmove", letGo, { passive: true });
document.addEventListener("selectionchange", () => selects($("report")) && letGo());
document.addEventListener("click", (event) => {
  if (event.target.closest("#follow")) follow(!following);
  else if (event.target.closest("#go")) goToNew();
});
